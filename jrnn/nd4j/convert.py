"""The weights of ND4J's GRU, SRU and RNN ops as parameters of jrnn's cells, and back."""

import jax
import jax.core
import jax.numpy as jnp
from jax.typing import ArrayLike

from jrnn.cells.base import check_type
from jrnn.cells.gru import GRUParams
from jrnn.cells.meshes import whole
from jrnn.cells.simple_rnn import SimpleRNNParams
from jrnn.cells.sru import SRUParams
from jrnn.nd4j.arguments import expect, split_rows
from jrnn.nd4j.shapes import gru_units, rnn_units
from jrnn.nd4j.weights import GRUWeights, RNNWeights, SRUWeights


def gru_to_params(weights: GRUWeights, features: int) -> GRUParams:
    """Returns the parameters for ``jrnn.gru`` with ``GRUCell(reset_after=False)``.

    Args:
        weights: Of ``gru_cell``: columns r, u, and c, rows of x above those of h.
        features: I, the size of x.

    Returns:
        Gate order z, r, h, where z is u. Without biases ``use_bias=False``.

    Raises:
        ValueError: If the weights are not ``GRUWeights`` of fitting shapes and so many features.
    """
    check_type("jrnn.nd4j.gru_to_params", weights, GRUWeights, "weights")
    units = gru_units("gru_to_params", weights)
    both = jnp.concatenate([_halves_swapped(weights.ru_weight), weights.c_weight], axis=-1)
    kernel, recurrent = split_rows("gru_to_params", both, features, 3)
    if weights.ru_bias is None and weights.c_bias is None:
        return GRUParams(kernel, recurrent)
    ru = jnp.zeros(2 * units, kernel.dtype) if weights.ru_bias is None else weights.ru_bias
    c = jnp.zeros(units, kernel.dtype) if weights.c_bias is None else weights.c_bias
    return GRUParams(kernel, recurrent, jnp.concatenate([_halves_swapped(ru), c]))


def gru_from_params(params: GRUParams) -> GRUWeights:
    """Returns the weights that ``gru_to_params`` turns into ``params``.

    Raises:
        ValueError: If the parameters are no GRU's, or one's that resets after the product: those
            are another equation, which ``gru_layer_from_params`` knows.
    """
    check_type("jrnn.nd4j.gru_from_params", params, GRUParams)
    if params.bias is not None and params.bias.ndim == 2:
        raise ValueError(
            "jrnn.nd4j.gru_from_params: the bias has two rows, those of a GRU that resets after "
            "the product, but gru_cell resets before it; use gru_layer_from_params"
        )
    units = params.recurrent_kernel.shape[0]
    both = jnp.concatenate([params.kernel, params.recurrent_kernel])
    gates, candidate = jnp.split(both, [2 * units], axis=-1)
    if params.bias is None:
        return GRUWeights(_halves_swapped(gates), candidate)
    of_gates, of_candidate = jnp.split(params.bias, [2 * units])
    return GRUWeights(_halves_swapped(gates), candidate, _halves_swapped(of_gates), of_candidate)


def gru_layer_to_params(wx: ArrayLike, wh: ArrayLike, biases: ArrayLike | None = None) -> GRUParams:
    """Returns the parameters for ``jrnn.gru``, which resets after the product as ``gru_layer``.

    Args:
        wx: [I, 3n], columns r, u, c.
        wh: [n, 3n].
        biases: [3n]; they become the input's row of the bias, the other is zero.

    Returns:
        Gate order z, r, h, where z is u. Without biases ``use_bias=False``.

    Raises:
        ValueError: If a shape does not fit.
    """
    wx, wh = jnp.asarray(wx), jnp.asarray(wh)
    units = wh.shape[0] if wh.ndim else 0
    expect("gru_layer_to_params", (units, 3 * units), wh=wh)
    expect("gru_layer_to_params", (*wx.shape[:1], 3 * units), wx=wx)
    expect("gru_layer_to_params", (3 * units,), biases=biases)
    kernel, recurrent = _gates_swapped(wx), _gates_swapped(wh)
    if biases is None:
        return GRUParams(kernel, recurrent)
    row = _gates_swapped(jnp.asarray(biases))
    return GRUParams(kernel, recurrent, jnp.stack([row, jnp.zeros_like(row)]))


def gru_layer_from_params(params: GRUParams) -> tuple[jax.Array, jax.Array, jax.Array | None]:
    """Returns ``(wx, wh, biases)`` for ``gru_layer``.

    The bias's two rows are added where only their sum matters: for z and r.

    Raises:
        ValueError: If the parameters are no GRU's, their bias has one row (the reset comes before
            the product: ``gru_from_params``), or the candidate has a recurrent bias that is not
            zero, which ``gru_layer`` has no place for. Traced values are not looked at.
    """
    check_type("jrnn.nd4j.gru_layer_from_params", params, GRUParams)
    wx, wh = _gates_swapped(params.kernel), _gates_swapped(params.recurrent_kernel)
    if params.bias is None:
        return wx, wh, None
    if params.bias.ndim != 2:
        raise ValueError(
            "jrnn.nd4j.gru_layer_from_params: the bias has one row, that of a GRU that resets "
            "before the product, but gru_layer resets after it; use gru_from_params"
        )
    units = params.recurrent_kernel.shape[0]
    inner = params.bias[1, 2 * units :]
    if not isinstance(inner, jax.core.Tracer) and inner.any():
        raise ValueError(
            "jrnn.nd4j.gru_layer_from_params: the candidate's recurrent bias is not zero, but "
            "gru_layer has none; keep these parameters in jrnn.gru"
        )
    return wx, wh, _gates_swapped(params.bias.sum(0))


def sru_to_params(weights: SRUWeights) -> SRUParams:
    """Returns the parameters for ``jrnn.sru`` of ``sru``'s and ``sru_cell``'s weights.

    Raises:
        ValueError: If the weights are not ``SRUWeights`` of [K, 3K] or [3K, K], and [2K].
    """
    check_type("jrnn.nd4j.sru_to_params", weights, SRUWeights, "weights")
    kernel = weights.weights
    if kernel.ndim == 2 and kernel.shape[0] == 3 * kernel.shape[1]:
        kernel = kernel.T
    if kernel.ndim != 2 or kernel.shape[1] != 3 * kernel.shape[0]:
        raise ValueError(
            f"jrnn.nd4j.sru_to_params: weights has shape {weights.weights.shape}, but an SRU "
            "needs [K, 3K] or [3K, K]"
        )
    if weights.bias.shape != (1, 2 * kernel.shape[0]):  # as DL4J's row vectors
        expect("sru_to_params", (2 * kernel.shape[0],), bias=weights.bias)
    return SRUParams(kernel, weights.bias.reshape(-1))


def sru_from_params(params: SRUParams) -> SRUWeights:
    """Returns the weights [K, 3K] of ``jrnn.sru``'s parameters.

    That is the page's layout; upstream's ``sru`` wants it transposed.

    Raises:
        ValueError: If the parameters are no SRU's, or hold a highway kernel.
    """
    check_type("jrnn.nd4j.sru_from_params", params, SRUParams)
    features, width = params.kernel.shape
    if width != 3 * features or params.highway_kernel is not None:
        raise ValueError(
            f"jrnn.nd4j.sru_from_params: kernel has shape {params.kernel.shape}, but ND4J's SRU "
            "needs [K, 3K], as many units as features, and no highway_kernel"
        )
    bias = params.bias
    return SRUWeights(
        params.kernel, jnp.zeros(2 * features, params.kernel.dtype) if bias is None else bias
    )


def rnn_to_params(weights: RNNWeights) -> SimpleRNNParams:
    """Returns the parameters for ``jrnn.simple_rnn``; the two halves of the biases are added.

    Raises:
        ValueError: If the weights are not ``RNNWeights`` of fitting shapes.
    """
    check_type("jrnn.nd4j.rnn_to_params", weights, RNNWeights, "weights")
    rnn_units("rnn_to_params", weights)
    bias = None if weights.biases is None else whole(weights.biases, -1).reshape(2, -1).sum(0)
    return SimpleRNNParams(weights.input_weights, weights.recurrent_weights, bias)


def rnn_from_params(params: SimpleRNNParams) -> RNNWeights:
    """Returns weights that ``rnn_to_params`` turns into ``params``; the second half is zero.

    Raises:
        ValueError: If the parameters are no SimpleRNN's.
    """
    check_type("jrnn.nd4j.rnn_from_params", params, SimpleRNNParams)
    bias = params.bias
    biases = None if bias is None else jnp.concatenate([bias, jnp.zeros_like(bias)])
    return RNNWeights(params.kernel, params.recurrent_kernel, biases)


def _halves_swapped(array: jax.Array) -> jax.Array:
    return jnp.concatenate(jnp.split(array, 2, axis=-1)[::-1], axis=-1)


def _gates_swapped(array: jax.Array) -> jax.Array:
    """Returns u, r, c from r, u, c, and back."""
    first, second, candidate = jnp.split(array, 3, axis=-1)
    return jnp.concatenate([second, first, candidate], axis=-1)
