"""What goes around a cell, and what comes after it: residual and skip connections, projection."""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jrnn import activations, initializers
from jrnn.activations import Activation
from jrnn.cells.base import (
    Params,
    State,
    check_array,
    check_bias,
    check_sizes,
    project_input,
)
from jrnn.cells.meshes import split_as, whole
from jrnn.cells.noise import float_type
from jrnn.cells.wrapper import OwnParams, Wrapper, init_cell, output_features
from jrnn.initializers import Initializer


@dataclasses.dataclass(frozen=True)
class ResidualCell(Wrapper):
    """A cell whose input goes around it to the output.

    The output is ``x + y`` for the inner cell's output ``y``, or what ``merge`` makes of ``x`` and
    ``y``. State and parameters are the inner cell's.

    Args:
        cell: The cell.
        merge: "add", "concat" (x first, along the features: a skip connection), or a function of
            ``x`` and ``y``.

    Raises:
        ValueError: If ``merge`` is unknown, or the shapes of x and y do not fit together.

    Source: He et al., 2015 (arXiv:1512.03385); Wu et al., 2016 (arXiv:1609.08144), over LSTMs.
    """

    merge: Literal["add", "concat"] | Callable[[jax.Array, jax.Array], Any] = "add"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not callable(self.merge) and self.merge not in ("add", "concat"):
            raise ValueError(
                f"ResidualCell: merge is {self.merge!r}, but 'add', 'concat' or a function of x "
                "and y is needed"
            )

    def initial_state(self, params: Params, z: tuple[Any, Any]) -> State:
        """Returns the inner cell's initial state."""
        return self.cell.initial_state(params, z[0])

    def project(self, params: Params, xs: Any) -> tuple[Any, Any]:
        """Returns the inner cell's projection, and the input."""
        return self.cell.project(params, xs), xs

    def step(self, params: Params, state: State, z: tuple[Any, Any]) -> tuple[State, Any]:
        """Returns the inner cell's next state, and its output merged with the input."""
        z, x = z
        state, y = self.cell.step(params, state, z)
        if callable(self.merge):
            return state, self.merge(x, y)
        axis, shapes = self.channel_axis, [list(x.shape), list(y.shape)]
        if self.merge == "concat":  # of images the sizes have to agree, but not the channels
            shapes = [shape[:axis] + shape[axis:][1:] for shape in shapes]
        if shapes[0] != shapes[1]:
            raise ValueError(
                f"ResidualCell: x has shape {x.shape} and the output of {type(self.cell).__name__} "
                f"{y.shape}, which do not fit together for merge={self.merge!r}; use as many units "
                "as there are features, ProjectionCell, padding='same', 'concat' or a function"
            )
        if self.merge == "add":
            return state, split_as(x, y) + y
        dtype = jnp.result_type(x, y)
        both = [whole(one.astype(dtype), axis) for one in (x, y)]  # side by side on no device
        return state, jnp.concatenate(both, axis)


class ProjectionParams(NamedTuple):
    """Parameters of a cell and of the projection of its output."""

    params: Any  # the inner cell's
    kernel: jax.Array  # [U, P]
    bias: jax.Array | None = None  # [P]


@dataclasses.dataclass(frozen=True)
class ProjectionCell(OwnParams):
    """A cell whose output goes through a dense layer: ``activation(y @ kernel + bias)``.

    The state is the inner cell's, and is not projected (that is ``LSTMCell(projection=...)``). Of
    images each pixel's channels are projected.

    Args:
        cell: The cell.
        features: Size ``P`` of the output that ``init`` draws parameters for.
        use_bias: Whether the parameters hold a bias.
        activation: A function or a name known to ``jrnn.activations.get``.
        kernel_initializer: A function or name known to ``jrnn.initializers.get``.
        bias_initializer: Likewise, for the bias.

    Source: ``tf.contrib.rnn.OutputProjectionWrapper``.
    """

    params_type: ClassVar[type] = ProjectionParams

    features: int
    use_bias: bool = True
    activation: Activation | str = "linear"
    kernel_initializer: Initializer | str = "glorot_uniform"
    bias_initializer: Initializer | str = "zeros"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_sizes("ProjectionCell", features=self.features)
        activations.get(self.activation)
        initializers.get(self.kernel_initializer)
        initializers.get(self.bias_initializer)

    def init(
        self, key: jax.Array, features: Any, units: Any, dtype: DTypeLike | None = None
    ) -> ProjectionParams:
        """Returns the inner cell's fresh parameters, kernel [U, P] and bias [P]."""
        of_cell, of_kernel, of_bias = jax.random.split(key, 3)
        params = init_cell(self.cell, of_cell, features, units, dtype)
        own = float_type(params)
        size = output_features(self.cell, params, features)
        kernel = initializers.get(self.kernel_initializer)(of_kernel, (size, self.features), own)
        if not self.use_bias:
            return ProjectionParams(params, kernel)
        bias = initializers.get(self.bias_initializer)(of_bias, (self.features,), own)
        return ProjectionParams(params, kernel, bias)

    def project(self, params: ProjectionParams, xs: Any) -> Any:
        """Returns the inner cell's projection."""
        inner = self.inner(params)
        check_array("ProjectionCell", "kernel", params.kernel)
        check_array("ProjectionCell", "bias", params.bias, optional=True)
        check_bias("ProjectionCell", params.bias, self.use_bias, params.kernel.shape[1:])
        return self.cell.project(inner, xs)

    def step(self, params: ProjectionParams, state: State, z: Any) -> tuple[State, jax.Array]:
        """Returns the inner cell's next state and the projected output [..., P]."""
        state, y = self.cell.step(params.params, state, z)
        y = jnp.moveaxis(y, self.channel_axis, -1)
        y = project_input("ProjectionCell: the projection", y, params.kernel, params.bias)
        return state, activations.get(self.activation)(jnp.moveaxis(y, -1, self.channel_axis))
