"""WHO IS TIMED. The table of peers; each one's file is imported only where it runs."""

import dataclasses
import importlib
from collections.abc import Mapping

from benchmarks.cases import CELLS, LIBRARY_CELLS, MATMUL_CELLS
from benchmarks.peers.base import Peer


@dataclasses.dataclass(frozen=True)
class Entry:
    """A peer: where its class is, and which function its cells compute.

    ``variants`` names, for a kind of cell, the function it computes where that is not jrnn's
    default. ``packages`` are the distributions whose versions matter.
    """

    place: str
    packages: tuple[str, ...]
    variants: Mapping[str, str] = dataclasses.field(default_factory=dict)
    devices: tuple[str, ...] = ("cpu", "gpu")
    only: tuple[str, ...] = ()  # kinds of cell; () for all

    def variant(self, cell: str) -> str:
        return self.variants.get(cell, CELLS[cell].default)


_JAX = ("jax", "jaxlib")
_HERE = "benchmarks.peers."

ENTRIES: dict[str, Entry] = {
    "jrnn": Entry(_HERE + "jrnn_functions:Jrnn", _JAX),
    "jrnn_reset_before": Entry(
        _HERE + "jrnn_functions:Jrnn", _JAX, {"gru": "reset_before"}, only=("gru",)
    ),
    "jrnn_relu": Entry(
        _HERE + "jrnn_functions:Jrnn", _JAX, {"simple_rnn": "relu"}, only=("simple_rnn",)
    ),
    "naive": Entry(_HERE + "naive_scan:Naive", _JAX),
    "flax_linen": Entry(_HERE + "flax_linen:FlaxLinen", ("flax", *_JAX), only=LIBRARY_CELLS),
    "flax_nnx": Entry(
        _HERE + "flax_nnx:FlaxNNX", ("flax", *_JAX), {"gru": "input_bias"}, only=MATMUL_CELLS
    ),
    "keras": Entry(_HERE + "keras_layers:KerasLayers", ("keras", *_JAX), only=LIBRARY_CELLS),
    "haiku": Entry(
        _HERE + "haiku_unroll:Haiku",
        ("dm-haiku", *_JAX),
        {"gru": "reset_before", "simple_rnn": "relu"},
        only=LIBRARY_CELLS,
    ),
    "equinox": Entry(_HERE + "equinox_scan:Equinox", ("equinox", *_JAX), only=MATMUL_CELLS),
    "torch": Entry(_HERE + "torch_nn:Torch", ("torch",), devices=("cpu",), only=MATMUL_CELLS),
    "onnxruntime": Entry(
        _HERE + "onnx_runtime:OnnxRuntime",
        ("onnxruntime", "onnx"),
        devices=("cpu",),
        only=MATMUL_CELLS,
    ),
    "torch_cudnn": Entry(
        _HERE + "torch_nn:TorchCudnn", ("torch",), devices=("gpu",), only=MATMUL_CELLS
    ),
    "jax_cudnn": Entry(_HERE + "jax_cudnn:JaxCudnn", _JAX, devices=("gpu",), only=MATMUL_CELLS),
}

# jrnn computing the same function: what a peer's time is divided by.
PARTNERS = {("gru", "reset_before"): "jrnn_reset_before", ("simple_rnn", "relu"): "jrnn_relu"}


def entry(name: str) -> Entry:
    """Returns the peer's row; ``package.module:Class`` is a peer of one's own."""
    if ":" in name:
        return Entry(name, ())
    return ENTRIES[name]


def partner(name: str, cell: str) -> str:
    """Returns the name of the jrnn that computes the peer's function of this cell."""
    return PARTNERS.get((cell, entry(name).variant(cell)), "jrnn")


def load(name: str) -> Peer:
    """Imports the peer and returns it."""
    module, _, attribute = entry(name).place.partition(":")
    return getattr(importlib.import_module(module), attribute)()
