"""A model and the arrays of a file -> the model's parameters, every array placed and checked."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax

from jrnn.keras_loader.errors import KerasFileError
from jrnn.keras_loader.legacy import from_layers
from jrnn.keras_loader.objects import from_objects
from jrnn.keras_loader.read import LegacyWeights, ObjectWeights
from jrnn.model.basic import RepeatVector, Reshape, TimeDistributed
from jrnn.model.convolution import ConvolutionLayer
from jrnn.model.graph import Model
from jrnn.model.layer import Layer
from jrnn.model.pooling import Pooling
from jrnn.model.shaping import Cropping

ANY_SIZE = 3  # stands for a size that the file leaves open, where shapes alone are worked out
_FIT_SOME_SIZES = (ConvolutionLayer, Cropping, Pooling, RepeatVector, Reshape)


def build_params(model: Model, weights: LegacyWeights | ObjectWeights) -> dict[str, Any]:
    """Returns the parameters; all shapes are checked before any array is read."""
    stored = placed(model, weights)
    check_together(model, stored)
    # What was just read belongs to nobody else: where it can, JAX keeps it instead of a copy.
    return jax.tree.map(lambda array: jax.device_put(array.read(), may_alias=True), stored)


def placed(model: Model, weights: LegacyWeights | ObjectWeights) -> dict[str, Any]:
    """Returns the parameters with stored arrays as leaves, unread; each fits its layer."""
    if isinstance(weights, LegacyWeights):
        return from_layers(model, weights)
    return from_objects(model, weights)


def check_together(model: Model, stored: Mapping[str, Any]) -> None:
    """Runs the model on shapes alone, so that what one layer gives is what the next takes."""
    if _depends_on_open_sizes(model):
        return
    try:
        abstract_run(model, blank(stored), blank_inputs(model))
    except Exception as error:  # for numbers out of all range JAX has a dozen kinds
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise KerasFileError(f"the layers do not fit together: {reason}") from error


def _depends_on_open_sizes(model: Model) -> bool:
    """Whether a run with ``ANY_SIZE`` could fail although the model is sound."""
    shapes = [spec.shape for spec in model.inputs]
    if any(shape is None or None in shape[2:] for shape in shapes):
        return True
    if not any(shape[1:2] == (None,) for shape in shapes if shape):
        return False
    fixed = any(len(shape) > 2 and shape[1] is not None for shape in shapes if shape)
    return fixed or _reshapes(model)


def _reshapes(layer: Layer) -> bool:
    if isinstance(layer, TimeDistributed):
        return _reshapes(layer.layer)
    inner = layer.layers if isinstance(layer, Model) else ()
    return isinstance(layer, _FIT_SOME_SIZES) or any(_reshapes(one) for one in inner)


def blank_inputs(model: Model, open_size: int = ANY_SIZE) -> list[jax.ShapeDtypeStruct]:
    """Returns the shapes of a model's inputs; sizes the file leaves open are ``open_size``."""
    fixed = [spec.shape[0] for spec in model.inputs if spec.shape and spec.shape[0] is not None]
    batch = fixed[0] if fixed else open_size  # one batch for all, fixed where one of them is
    blanks = []
    for spec in model.inputs:
        sizes = [open_size if size is None else size for size in spec.shape or ()]
        shape = (batch, *sizes[1:]) if sizes else ()
        blanks.append(jax.ShapeDtypeStruct(shape, canonical(spec.dtype or "float32")))
    return blanks


def blank(params: Any) -> Any:
    """Returns shapes in place of parameters, stored or read."""
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, canonical(a.dtype)), params)


def abstract_run(model: Model, params: Any, inputs: Sequence[Any]) -> dict[tuple[str, int], Any]:
    """Returns every call's result for shapes of parameters and inputs, as shapes."""
    no_masks = [None] * len(inputs)
    return jax.eval_shape(lambda p, xs: model.trace(p, xs, no_masks)[0], params, inputs)


def canonical(dtype: Any) -> Any:
    """Returns the dtype that JAX uses for one that a file names."""
    return jax.dtypes.canonicalize_dtype(dtype)
