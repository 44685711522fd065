"""The weights of ND4J's LSTM ops as parameters of ``jrnn.lstm``, and back.

What comes out runs in ``jrnn.lstm``, in a layer of a model, in a module. The cell to go with it
has ``use_bias=params.bias is not None`` and ``peephole=params.peephole is not None``. There and
back gives the same arrays, to rounding where a forget bias is added.
"""

import jax
import jax.numpy as jnp

from jrnn.cells.base import check_type
from jrnn.cells.lstm import LSTMParams
from jrnn.cells.meshes import whole
from jrnn.layers.bidirectional import BidirectionalParams
from jrnn.nd4j.arguments import split_rows
from jrnn.nd4j.shapes import lstm_layer_units, lstm_units
from jrnn.nd4j.weights import LSTMLayerWeights, LSTMWeights, ProjectionLSTMWeights


def lstm_layer_to_params(weights: LSTMLayerWeights) -> LSTMParams | BidirectionalParams:
    """Returns the parameters for ``jrnn.lstm``, or for ``jrnn.bidirectional``.

    The gate order is the same; the peepholes are cut into three rows. The cell is
    ``config.cell(...)``, with ``use_bias`` and ``peephole`` as the weights have them.

    Raises:
        ValueError: If the weights are not ``LSTMLayerWeights`` of fitting shapes.
    """
    check_type("jrnn.nd4j.lstm_layer_to_params", weights, LSTMLayerWeights, "weights")
    lstm_layer_units("lstm_layer_to_params", weights)
    if weights.input_weights.ndim == 3:
        both = [jax.tree.map(lambda array: array[k], weights) for k in range(2)]  # noqa: B023
        return BidirectionalParams(*map(lstm_layer_to_params, both))
    peephole = weights.peephole_weights
    return LSTMParams(
        weights.input_weights,
        weights.recurrent_weights,
        weights.biases,
        None if peephole is None else whole(peephole, -1).reshape(3, -1),
    )


def lstm_layer_from_params(params: LSTMParams | BidirectionalParams) -> LSTMLayerWeights:
    """Returns the weights that ``lstm_layer_to_params`` turns into ``params``.

    Raises:
        ValueError: If the parameters are no LSTM's, hold a projection, or are of two directions
            that differ in shape.
    """
    if isinstance(params, BidirectionalParams):
        both = [lstm_layer_from_params(one) for one in params]
        shapes = [jax.tree.map(jnp.shape, one) for one in both]
        if shapes[0] != shapes[1]:
            raise ValueError(
                f"jrnn.nd4j.lstm_layer_from_params: the directions have {shapes[0]} and "
                f"{shapes[1]}, but these weights are one array for both"
            )
        return jax.tree.map(lambda *two: jnp.stack(two), *both)
    check_type("jrnn.nd4j.lstm_layer_from_params", params, LSTMParams)
    _refuse_projection("lstm_layer_from_params", params)
    peephole = None if params.peephole is None else params.peephole.reshape(-1)
    return LSTMLayerWeights(params.kernel, params.recurrent_kernel, params.bias, peephole)


def lstm_to_params(weights: LSTMWeights, features: int, *, forget_bias: float = 0.0) -> LSTMParams:
    """Returns the parameters for ``jrnn.lstm`` of ``lstm_cell``'s and ``lstm_block``'s weights.

    Args:
        weights: Gate order i, z, f, o, rows of ``features`` inputs above those of the state.
        features: I, the size of x.
        forget_bias: Of the configuration; it becomes part of the bias.

    Returns:
        Gate order i, f, c, o. The cell is ``LSTMCell(peephole=..., cell_clip=...)``.

    Raises:
        ValueError: If the weights are not ``LSTMWeights`` of fitting shapes and so many features,
            or have one or two of the three peephole weights.
    """
    check_type("jrnn.nd4j.lstm_to_params", weights, LSTMWeights, "weights")
    lstm_units("lstm_to_params", weights)
    kernel, recurrent = split_rows("lstm_to_params", weights.ru_weight, features, 4)
    kernel, recurrent = _swapped(kernel), _swapped(recurrent)
    bias = None if weights.bias is None else _swapped(weights.bias)
    bias = _with_forget_bias(bias, forget_bias, kernel)
    rows = [row for row in weights[1:4] if row is not None]
    if len(rows) in (1, 2):
        raise ValueError(
            f"jrnn.nd4j.lstm_to_params: {len(rows)} of three peephole weights are given, but all "
            "or none are needed"
        )
    peephole = jnp.stack(rows) if rows else None
    return LSTMParams(kernel, recurrent, bias, peephole)


def lstm_from_params(params: LSTMParams, *, forget_bias: float = 0.0) -> LSTMWeights:
    """Returns the weights that ``lstm_to_params`` turns into ``params``.

    Raises:
        ValueError: If the parameters are no LSTM's, or hold a projection.
    """
    check_type("jrnn.nd4j.lstm_from_params", params, LSTMParams)
    _refuse_projection("lstm_from_params", params)
    ru_weight = _swapped(jnp.concatenate([params.kernel, params.recurrent_kernel]))
    bias = _with_forget_bias(params.bias, -forget_bias, params.kernel)
    i, f, o = (None, None, None) if params.peephole is None else params.peephole
    return LSTMWeights(ru_weight, i, f, o, None if bias is None else _swapped(bias))


def projection_lstm_to_params(
    weights: ProjectionLSTMWeights, *, forget_bias: float = 0.0
) -> LSTMParams:
    """Returns the parameters for ``jrnn.lstm`` of ``projection_lstm``'s weights.

    ``forget_bias`` of the configuration becomes part of the bias. Peepholes and projection are
    there if the weights are.

    Raises:
        ValueError: If the weights are not ``ProjectionLSTMWeights``.
    """
    check_type("jrnn.nd4j.projection_lstm_to_params", weights, ProjectionLSTMWeights, "weights")
    kernel, peephole = weights.input_weights, weights.peephole_weights
    return LSTMParams(
        kernel,
        weights.recurrent_weights,
        _with_forget_bias(weights.biases, forget_bias, kernel),
        None if peephole is None else whole(peephole, -1).reshape(3, -1),
        weights.projection_weights,
    )


def projection_lstm_from_params(
    params: LSTMParams, *, forget_bias: float = 0.0
) -> ProjectionLSTMWeights:
    """Returns the weights that ``projection_lstm_to_params`` turns into ``params``.

    Raises:
        ValueError: If the parameters are no LSTM's.
    """
    check_type("jrnn.nd4j.projection_lstm_from_params", params, LSTMParams)
    return ProjectionLSTMWeights(
        params.kernel,
        params.recurrent_kernel,
        None if params.peephole is None else params.peephole.reshape(-1),
        params.projection,
        _with_forget_bias(params.bias, -forget_bias, params.kernel),
    )


def _swapped(array: jax.Array) -> jax.Array:
    """Returns i, z, f, o from i, f, z, o, and back."""
    i, first, second, o = jnp.split(array, 4, axis=-1)
    return jnp.concatenate([i, second, first, o], axis=-1)


def _with_forget_bias(bias: jax.Array | None, forget_bias: float, kernel: jax.Array):
    """Returns the bias i, f, g, o with a number added to that of the forget gate."""
    if not forget_bias:
        return bias
    dtype = jnp.result_type(kernel.dtype, float)  # a fraction, also beside integers
    extra = jnp.repeat(jnp.array([0, forget_bias, 0, 0], dtype), kernel.shape[-1] // 4)
    return extra if bias is None else bias + extra


def _refuse_projection(who: str, params: LSTMParams) -> None:
    if params.projection is not None:
        raise ValueError(
            f"jrnn.nd4j.{who}: params hold a projection of shape {params.projection.shape}, but "
            "these weights have no place for it; use projection_lstm_from_params"
        )
