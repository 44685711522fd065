"""A layer whose kernel training divides by its largest singular value."""

import dataclasses
from typing import Any, NamedTuple

import jax

from jrnn.model.layer import Layer, Result, Training


class SpectralNormalizationParams(NamedTuple):
    """Parameters of a layer whose kernel is normalised."""

    layer: Any  # the layer's own, the kernel as training left it
    vector_u: jax.Array  # [1, U], from which training goes on; inference does not need it


@dataclasses.dataclass(frozen=True, kw_only=True)
class SpectralNormalization(Layer):
    """The layer in it, with the kernel as it is: what training made of it is stored.

    Attributes:
        layer: The layer, which has a kernel or embeddings.
        power_iterations: How often training improves its guess of the largest singular value.
        keeps_dtype: Whether the output has the input's dtype (Keras 3), even if that is an integer.
    """

    layer: Layer
    power_iterations: int = 1
    keeps_dtype: bool = True

    def train(self, params, inputs, masks, state, training: Training | None) -> Result:
        """Returns what the layer does, and its mask unless the output is cast.

        Raises:
            ValueError: In training, which in Keras divides the kernel itself, on TensorFlow for
                good and on JAX for a single call.
        """
        if training is not None:
            raise ValueError(
                "its training divides its kernel, which Keras's backends do differently; call it "
                "without training, or put the layer in it into its place"
            )
        result = self.layer.run(params.layer, inputs, masks, state)
        [y], dtype = result.outputs, inputs[0].dtype
        if not self.keeps_dtype or y.dtype == dtype:
            return result
        return Result((y.astype(dtype),), (None,))
