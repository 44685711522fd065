"""Cells as NNX modules: a cell's choices, its sizes and its parameters."""

import functools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import ArrayLike, DTypeLike

import jrnn
from jrnn.flax_wrappers.carry import carry_of, cast, state_of
from jrnn.flax_wrappers.checks import check_dtypes

Initializer = Callable[..., jax.Array]
Metadata = Mapping[str, Any]


class RNNCell(nnx.RNNCellBase):
    """Any cell of jrnn, or of one's own, with its parameters.

    ``module.params`` is what ``cell.init`` returns, with an ``nnx.Param`` for each array, so that
    the names in the module's state are those of jrnn: ``params.kernel`` and so on.

    Args:
        cell: The cell.
        in_features: Size of the input; not needed with ``params``.
        hidden_features: Size of the output; not needed with ``params``.
        params: The parameters, where they are not to be drawn.
        dtype: Of the computation: parameters and inputs are cast to it. None promotes them.
        param_dtype: Of parameters that are drawn; None leaves it to the cell.
        carry_init: ``(key, shape, dtype) -> array``, of the first carry; None for the cell's own
            start, zeros.
        metadata: For fields of the parameters, what their ``nnx.Param`` is made with, such as
            ``{"kernel": {"sharding_names": (None, "model")}}``.
        rngs: Draws the parameters, from the stream ``params``; not needed with ``params``.

    Raises:
        ValueError: If there are neither parameters nor sizes and ``rngs``, metadata for what the
            parameters do not hold, or a dtype is none of floating-point numbers.
    """

    def __init__(
        self,
        cell: jrnn.Cell,
        in_features: Any = None,
        hidden_features: Any = None,
        *,
        params: Any = None,
        dtype: DTypeLike | None = None,
        param_dtype: DTypeLike | None = None,
        carry_init: Initializer | None = None,
        metadata: Mapping[str, Metadata] = MappingProxyType({}),
        rngs: nnx.Rngs | None = None,
    ):
        check_dtypes(f"jrnn.flax_wrappers.nnx.{type(self).__name__}", dtype, param_dtype)
        self.cell = cell
        self.in_features = in_features
        # A list would be no part of what nnx.jit can look up.
        given = hidden_features
        self.hidden_features = tuple(given) if isinstance(given, list) else given
        self.dtype = dtype
        self.param_dtype = param_dtype
        self.carry_init = carry_init
        if params is None:
            params = self._drawn(rngs)
        self.params = nnx.data(_as_variables(params, metadata))

    def _drawn(self, rngs: nnx.Rngs | None) -> Any:
        if rngs is None or self.in_features is None or self.hidden_features is None:
            raise ValueError(
                "jrnn.flax_wrappers: to draw parameters in_features, hidden_features and rngs are "
                "needed; give these or params"
            )
        draw: Any = self.cell.init
        given = () if self.param_dtype is None else (self.param_dtype,)
        return draw(rngs.params(), self.in_features, self.hidden_features, *given)

    @property
    def num_feature_axes(self) -> int:
        """Number of feature axes of the input."""
        return getattr(self.cell, "feature_ndim", 1)

    def weights(self) -> Any:
        """Returns the parameters as jrnn's functions take them, in ``dtype`` if there is one."""
        return jax.tree.map(
            lambda leaf: cast(leaf[...], self.dtype), self.params, is_leaf=_is_variable
        )

    def __call__(self, carry: Any, inputs: ArrayLike) -> tuple[Any, jax.Array]:
        """Returns the next carry and the output of one step, for inputs [..., F].

        The carry is as Flax's: ``(c, h)`` of an LSTM, the one array of other cells. One of jrnn's
        states is taken, too.
        """
        state, y = self.cell(self.weights(), state_of(self.cell, carry), cast(inputs, self.dtype))
        return carry_of(self.cell, state), y

    def initialize_carry(
        self,
        input_shape: tuple[int, ...],
        rngs: nnx.Rngs | nnx.RngStream | None = None,
        carry_init: Initializer | None = None,
    ) -> Any:
        """Returns the carry before the first step.

        Args:
            input_shape: Of one step's input, [..., F].
            rngs: For ``carry_init``, the stream ``carry``.
            carry_init: In the place of the cell's own.

        Raises:
            ValueError: If ``carry_init`` is given without ``rngs``.
        """
        weights = self.weights()
        x = jnp.zeros(input_shape, jnp.result_type(*jax.tree.leaves(weights)))
        state = self.cell.initial_state(weights, self.cell.project(weights, x))
        carry = carry_of(self.cell, state)
        carry_init = carry_init or self.carry_init
        if carry_init is None:
            return carry
        if rngs is None:
            raise ValueError("jrnn.flax_wrappers: carry_init needs rngs to draw from; give both")
        stream = rngs.carry if isinstance(rngs, nnx.Rngs) else rngs

        def first(leaf):  # of a clock, how many steps a row has done, there is nothing to draw
            floating = jnp.issubdtype(leaf.dtype, jnp.floating)
            return carry_init(stream(), leaf.shape, leaf.dtype) if floating else leaf

        return jax.tree.map(first, carry)


def _is_variable(leaf: Any) -> bool:
    return isinstance(leaf, nnx.Variable)


def _as_variables(params: Any, metadata: Mapping[str, Metadata]) -> Any:
    """Returns the parameters with an ``nnx.Param`` in the place of each array."""
    if not any(metadata.values()):
        return jax.tree.map(nnx.Param, params)
    unknown = set(metadata) - set(getattr(params, "_fields", ()))
    if unknown:
        raise ValueError(
            f"jrnn.flax_wrappers: metadata is for {sorted(unknown)}, but the parameters are a "
            f"{type(params).__name__}, with fields {getattr(params, '_fields', ())}"
        )
    made = {
        field: jax.tree.map(functools.partial(nnx.Param, **metadata.get(field, {})), value)
        for field, value in zip(params._fields, params, strict=True)
    }
    return type(params)(**made)
