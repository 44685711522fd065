"""Cells as Linen modules: what all share, and any cell of jrnn."""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen.recurrent import RNNCellBase
from jax.typing import ArrayLike, DTypeLike

from jrnn.flax_wrappers.carry import carry_of, cast, state_of
from jrnn.flax_wrappers.checks import check_dtypes

Initializer = Any  # a function (key, shape, dtype) -> array, or a name


class CellModule(RNNCellBase):
    """What the cell modules share: parameters, one step, the first carry.

    The variables are those of jrnn's NamedTuple: ``kernel``, ``recurrent_kernel``, ``bias``, ...
    """

    @property
    def plain(self) -> Any:
        """The cell of jrnn that computes."""
        raise NotImplementedError

    @property
    def num_feature_axes(self) -> int:
        """Number of feature axes of the input."""
        return getattr(self.plain, "feature_ndim", 1)

    @nn.compact
    def weights(self, in_features: Any) -> Any:
        """Returns the parameters as jrnn's functions take them, in ``dtype`` if there is one."""
        check_dtypes(
            f"jrnn.flax_wrappers.linen.{type(self).__name__}", self.dtype, self.param_dtype
        )
        draw = functools.partial(self._draw, in_features)
        shapes = jax.eval_shape(draw, jax.random.key(0))
        if not is_flat(shapes):  # a stack: one variable holds the tree
            params = self.param("cell", draw)
        else:
            fields = {
                field: self.param(field, lambda key, field=field: getattr(draw(key), field))
                for field, shape in zip(shapes._fields, shapes, strict=True)
                if shape is not None
            }
            params = type(shapes)(**fields)
        return jax.tree.map(lambda leaf: cast(leaf, self.dtype), params)

    def _draw(self, in_features: Any, key: jax.Array) -> Any:
        given = () if self.param_dtype is None else (self.param_dtype,)
        return self.plain.init(key, in_features, self.features, *given)

    def arrays(self, variables: Mapping[str, Any]) -> Any:
        """Returns the parameters that stand under the names of the module's variables."""
        if set(variables) == {"cell"}:
            return variables["cell"]
        kernel = nn.meta.unbox(variables.get("kernel"))
        in_features = 1 if kernel is None else kernel.shape[-2]
        shapes = jax.eval_shape(lambda: self._draw(in_features, jax.random.key(0)))
        needed = [name for name, shape in shapes._asdict().items() if shape is not None]
        if set(variables) != set(needed):
            raise ValueError(
                f"jrnn.flax_wrappers.linen: the variables of a {type(self).__name__} are "
                f"{sorted(variables)}, but {needed} are needed"
            )
        return type(shapes)(**variables)

    def __call__(self, carry: Any, inputs: ArrayLike) -> tuple[Any, jax.Array]:
        """Returns the next carry and the output of one step, for inputs [..., F]."""
        x = cast(inputs, self.dtype)
        state, y = self.plain(self.weights(x.shape[-1]), state_of(self.plain, carry), x)
        return carry_of(self.plain, state), y

    @nn.nowrap
    def initialize_carry(self, rng: jax.Array, input_shape: tuple[int, ...]) -> Any:
        """Returns the carry before the first step, for inputs of a shape.

        It is drawn by ``carry_init``; without one it is the cell's own start.
        """
        plain = self.plain

        def start() -> Any:
            drawn = plain.init(jax.random.key(0), input_shape[-1], self.features)
            params = nn.meta.unbox(drawn)  # of the axis names that an initializer may add
            x = jnp.zeros(input_shape, self.param_dtype or jnp.float32)
            return carry_of(plain, plain.initial_state(params, plain.project(params, x)))

        if self.carry_init is None:
            return start()
        shapes, structure = jax.tree.flatten(jax.eval_shape(start))
        drawn = [
            self._first(key, leaf)
            for key, leaf in zip(jax.random.split(rng, len(shapes)), shapes, strict=True)
        ]
        return jax.tree.unflatten(structure, drawn)

    @nn.nowrap
    def _first(self, key: jax.Array, leaf: Any) -> jax.Array:
        if not jnp.issubdtype(leaf.dtype, jnp.floating):  # a clock: how many steps a row has done
            return jnp.zeros(leaf.shape, leaf.dtype)
        dtype = leaf.dtype if self.param_dtype is None else self.param_dtype
        return self.carry_init(key, leaf.shape, dtype)


class RNNCell(CellModule):
    """Any cell of jrnn, or of one's own.

    Attributes:
        cell: The cell.
        features: Size of the output; of a stack one for each cell.
        dtype: Of the computation; None promotes parameters and inputs.
        param_dtype: Of the parameters; None leaves it to the cell.
        carry_init: ``(key, shape, dtype) -> array``, of the first carry; None for the cell's own
            start.
    """

    cell: Any
    features: Any
    dtype: DTypeLike | None = None
    param_dtype: DTypeLike | None = None
    carry_init: Initializer | None = None

    def __post_init__(self) -> None:
        if isinstance(self.features, list):  # which has no hash
            object.__setattr__(self, "features", tuple(self.features))
        super().__post_init__()

    @property
    def plain(self) -> Any:
        """The cell."""
        return self.cell


def is_flat(params: Any) -> bool:
    """Returns whether the parameters are one NamedTuple of arrays."""
    fields = getattr(params, "_fields", None)
    return fields is not None and not any(isinstance(field, tuple) for field in params)
