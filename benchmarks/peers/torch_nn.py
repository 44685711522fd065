"""``torch.nn.LSTM``, ``GRU`` and ``RNN``: eager, time-major (``batch_first=False``, the default).

PyTorch's kernels are time-major inside: ``batch_first=True`` would add a transposition.
"""

import time

import numpy as np
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from benchmarks.cases import Case
from benchmarks.data import Data, Layers, Weights
from benchmarks.peers.base import CORES, Peer, Prepared, UnsupportedError, result_arrays
from benchmarks.peers.gates import KERAS_ORDER, reorder

LAYERS = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "simple_rnn": torch.nn.RNN}
ORDER = {"lstm": "ifgo", "gru": "rzn", "simple_rnn": "h"}


class Torch(Peer):
    """Forward under ``torch.inference_mode``; lengths through ``pack_padded_sequence``."""

    device = "cpu"

    def __init__(self) -> None:
        torch.set_num_threads(CORES)

    def prepare(self, case: Case, data: Data) -> Prepared:
        layer = LAYERS[case.cell](
            case.shape.F,
            case.shape.U,
            num_layers=len(data.layers),
            bidirectional=case.directions == 2,
        ).to(self.device)
        fill(case.cell, layer, data.layers)
        xs = torch.from_numpy(data.xs).to(self.device)
        cotangent = torch.from_numpy(data.cotangent).to(self.device)
        lengths = None if data.lengths is None else torch.from_numpy(data.lengths).long()

        def network():
            if lengths is None:
                return layer(xs)
            packed = pack_padded_sequence(xs, lengths, enforce_sorted=False)
            outputs, state = layer(packed)
            return pad_packed_sequence(outputs, total_length=case.shape.T)[0], state

        @torch.inference_mode()
        def forward():
            done = network()
            self._wait()
            return done

        parameters = list(layer.parameters())

        def gradient():
            outputs, _ = network()
            grads = torch.autograd.grad(outputs, [xs, *parameters], grad_outputs=cotangent)
            self._wait()
            return outputs, grads

        if case.mode == "forward":
            return Prepared(forward, lambda: _forward_results(forward))
        xs.requires_grad_()
        return Prepared(gradient, lambda: _gradient_results(gradient, case, layer))

    def matmul_seconds(self, rows: int, inner: int, columns: int) -> float:
        """Returns the time of one product within a loop of them, written to the same place."""
        left = torch.randn(rows, inner, device=self.device)
        right = torch.randn(inner, columns, device=self.device)
        out = torch.empty(rows, columns, device=self.device)
        repeats = 50 if rows * inner * columns < 1e8 else 3
        best, end = float("inf"), time.perf_counter() + 0.1
        with torch.inference_mode():
            torch.mm(left, right, out=out)
            while time.perf_counter() < end:
                self._wait()
                start = time.perf_counter()
                for _ in range(repeats):
                    torch.mm(left, right, out=out)
                self._wait()
                best = min(best, time.perf_counter() - start)
        return best / repeats

    def _wait(self) -> None:
        """Returns when the work is done; on the CPU it is."""


class TorchCudnn(Torch):
    """The same layers on a GPU, where PyTorch calls cuDNN."""

    device = "cuda"

    def __init__(self) -> None:
        super().__init__()
        if not torch.cuda.is_available() or not torch.backends.cudnn.is_available():
            raise UnsupportedError("PyTorch finds no GPU with cuDNN")

    def _wait(self) -> None:
        torch.cuda.synchronize()


def _suffixes(layers: Layers):
    """Yields each direction's weights with the ending of PyTorch's names for them."""
    for i, layer in enumerate(layers):
        for weights, ending in zip(layer, ("", "_reverse"), strict=False):
            yield weights, f"_l{i}{ending}"


def fill(cell: str, layer: torch.nn.Module, layers: Layers) -> None:
    """Sets the layer's parameters; a single bias stands at the input, with zeros beside it."""
    with torch.no_grad():
        for weights, suffix in _suffixes(layers):
            own = {k: reorder(a, KERAS_ORDER[cell], ORDER[cell]) for k, a in weights.items()}
            bias = own["bias"]
            of_input, of_hidden = bias if bias.ndim == 2 else (bias, np.zeros_like(bias))
            for name, array in (
                ("weight_ih", own["kernel"].T),
                ("weight_hh", own["recurrent_kernel"].T),
                ("bias_ih", of_input),
                ("bias_hh", of_hidden),
            ):
                getattr(layer, name + suffix).copy_(torch.from_numpy(np.array(array)))


def _forward_results(forward):
    outputs, state = forward()
    hidden = state[0] if isinstance(state, tuple) else state
    return result_arrays(outputs.cpu(), list(hidden.cpu()))


def _gradient_results(gradient, case: Case, layer: torch.nn.Module):
    outputs, (of_input, *of_parameters) = gradient()
    names = [name for name, _ in layer.named_parameters()]
    found = {n: g.cpu().numpy() for n, g in zip(names, of_parameters, strict=True)}
    endings = ("", "_reverse")[: case.directions]
    layers: Layers = [
        [_to_keras(case.cell, found, f"_l{i}{ending}") for ending in endings]
        for i in range(len(case.layer_features))
    ]
    return result_arrays(outputs.detach().cpu(), None, (layers, of_input.cpu()))


def _to_keras(cell: str, found: dict[str, np.ndarray], suffix: str) -> Weights:
    bias = found["bias_ih" + suffix]
    if cell == "gru":
        bias = np.stack([bias, found["bias_hh" + suffix]])
    own = {
        "kernel": found["weight_ih" + suffix].T,
        "recurrent_kernel": found["weight_hh" + suffix].T,
        "bias": bias,
    }
    return {name: reorder(array, ORDER[cell], KERAS_ORDER[cell]) for name, array in own.items()}
