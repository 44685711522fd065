"""A cell that holds a cell: what the cells have in common that change one thing of another."""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jrnn.cells.base import Cell, Params, State, check_cell
from jrnn.cells.noise import drawn, draws

_PIXELS = 1024  # more than any window is wide; nothing is computed with them


@dataclasses.dataclass(frozen=True)
class Wrapper(Cell):
    """A cell that does what the one it holds does, where it says nothing else."""

    cell: Cell

    def __post_init__(self) -> None:
        check_cell(type(self).__name__, self.cell)

    @property
    def feature_ndim(self) -> int:
        """Number of feature axes of the input: the inner cell's."""
        return getattr(self.cell, "feature_ndim", 1)

    @property
    def channel_axis(self) -> int:
        """The axis of the features, of images of the channels, from the end: the inner cell's."""
        return getattr(self.cell, "channel_axis", -1)

    @property
    def elementwise(self) -> bool:
        """Whether a step has no product with the state: the inner cell's."""
        return getattr(self.cell, "elementwise", False)

    @property
    def is_random(self) -> bool:
        """Whether ``draw`` draws anything."""
        return draws(self.cell)

    def init(
        self, key: jax.Array, features: Any, units: Any, dtype: DTypeLike | None = None
    ) -> Params:
        """Returns the inner cell's fresh parameters."""
        return init_cell(self.cell, key, features, units, dtype)

    def draw(self, key: jax.Array, params: Params, x: Any) -> Params:
        """Returns the parameters with what the inner cell draws, for one step's input ``x``."""
        cell: Any = self.cell  # of those that draw
        return cell.draw(key, params, x)

    def initial_state(self, params: Params, z: Any) -> State:
        """Returns the inner cell's initial state."""
        return self.cell.initial_state(params, z)

    def project(self, params: Params, xs: Any) -> Any:
        """Returns the inner cell's projection."""
        return self.cell.project(params, xs)

    def step(self, params: Params, state: State, z: Any) -> tuple[State, Any]:
        """Returns the inner cell's next state and output."""
        return self.cell.step(params, state, z)


@dataclasses.dataclass(frozen=True)
class OwnParams(Wrapper):
    """A wrapper with parameters of its own: a NamedTuple whose ``params`` are the inner cell's."""

    params_type: ClassVar[type]

    def inner(self, params: Any) -> Params:
        """Returns the inner cell's parameters; raises ``ValueError`` unless the type is right."""
        if not isinstance(params, self.params_type):
            raise ValueError(
                f"{type(self).__name__}: params is a {type(params).__name__}, but "
                f"{self.params_type.__name__} is needed, with the inner cell's as its params"
            )
        return params.params

    def draw(self, key: jax.Array, params: Any, x: Any) -> Any:
        """Returns the parameters with what the inner cell draws, for one step's input ``x``."""
        inner = drawn(self.cell, key, self.inner(params), x)
        return params._replace(params=inner)

    def initial_state(self, params: Any, z: Any) -> State:
        """Returns the inner cell's initial state."""
        return self.cell.initial_state(self.inner(params), z)


def init_cell(
    cell: Any, key: jax.Array, features: Any, units: Any, dtype: DTypeLike | None
) -> Params:
    """Returns a cell's fresh parameters; a ``dtype`` needs a cell whose ``init`` takes one."""
    return cell.init(key, features, units, *([] if dtype is None else [dtype]))


def array_names(tree: Any) -> list[str]:
    """Returns for each of a tree's arrays the name of its field or key where it lies, or ``""``."""
    paths = [path for path, _ in jax.tree_util.tree_flatten_with_path(tree)[0]]
    ends = [path[-1] if path else None for path in paths]
    return [str(getattr(end, "name", getattr(end, "key", ""))) for end in ends]


def output_features(cell: Cell, params: Params, features: Any) -> int:
    """Returns the size of a cell's output, found by an abstract step."""
    axis = getattr(cell, "channel_axis", -1)
    shape = [_PIXELS] * getattr(cell, "feature_ndim", 1)
    shape[axis] = features

    def one_step(x):
        z = cell.project(params, x)
        return cell.step(params, cell.initial_state(params, z), z)[1]

    return jax.eval_shape(one_step, jax.ShapeDtypeStruct(shape, jnp.float32)).shape[axis]
