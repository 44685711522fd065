"""Cells as Linen modules, with the arguments that Flax's have."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen.recurrent import RNNCellBase
from jax.typing import ArrayLike, DTypeLike

import jrnn
from jrnn.flax_wrappers.carry import carry_of, plain_function, state_of, window

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
        plain, dtype = self.plain, self.param_dtype

        def draw(key: jax.Array) -> Any:
            given = () if dtype is None else (dtype,)
            return plain.init(key, in_features, self.features, *given)

        shapes = jax.eval_shape(draw, jax.random.key(0))
        if not _is_flat(shapes):  # a stack: one variable holds the tree
            params = self.param("cell", draw)
        else:
            fields = {
                field: self.param(field, lambda key, field=field: getattr(draw(key), field))
                for field, shape in zip(shapes._fields, shapes, strict=True)
                if shape is not None
            }
            params = type(shapes)(**fields)
        return jax.tree.map(self.cast, params)

    def cast(self, x: ArrayLike) -> jax.Array:
        """Returns an array in ``dtype``, if there is one."""
        x = jnp.asarray(x)
        return x if self.dtype is None else x.astype(self.dtype)

    def __call__(self, carry: Any, inputs: ArrayLike) -> tuple[Any, jax.Array]:
        """Returns the next carry and the output of one step, for inputs [..., F]."""
        x = self.cast(inputs)
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
        dtype = self.param_dtype
        drawn = [
            self.carry_init(key, leaf.shape, leaf.dtype if dtype is None else dtype)
            for key, leaf in zip(jax.random.split(rng, len(shapes)), shapes, strict=True)
        ]
        return jax.tree.unflatten(structure, drawn)


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

    @property
    def plain(self) -> Any:
        """The cell."""
        return self.cell


class SimpleCell(CellModule):
    """``jrnn.SimpleRNNCell`` with the attributes of ``flax.linen.SimpleCell``; see ``LSTMCell``."""

    features: int
    activation_fn: Any = "tanh"
    kernel_init: Initializer = "lecun_normal"
    recurrent_kernel_init: Initializer = "orthogonal"
    bias_init: Initializer = "zeros"
    dtype: DTypeLike | None = None
    param_dtype: DTypeLike = jnp.float32
    carry_init: Initializer = nn.initializers.zeros_init()
    use_bias: bool = True

    @property
    def plain(self) -> jrnn.SimpleRNNCell:
        """The cell of jrnn."""
        return jrnn.SimpleRNNCell(plain_function(self.activation_fn), **_initializers(self))


class GRUCell(CellModule):
    """A GRU, with the attributes of ``flax.linen.GRUCell``; see ``LSTMCell``.

    Attributes:
        reset_after: As for ``jrnn.GRUCell``; Flax's GRU resets after the product.

    Source: ``flax.linen.GRUCell``; ``jrnn.GRUCell``.
    """

    features: int
    gate_fn: Any = "sigmoid"
    activation_fn: Any = "tanh"
    kernel_init: Initializer = "lecun_normal"
    recurrent_kernel_init: Initializer = "orthogonal"
    bias_init: Initializer = "zeros"
    dtype: DTypeLike | None = None
    param_dtype: DTypeLike = jnp.float32
    carry_init: Initializer = nn.initializers.zeros_init()
    use_bias: bool = True
    reset_after: bool = True

    @property
    def plain(self) -> jrnn.GRUCell:
        """The cell of jrnn."""
        return jrnn.GRUCell(*_functions(self), reset_after=self.reset_after, **_initializers(self))


class LSTMCell(CellModule):
    """An LSTM, with the attributes of ``flax.linen.LSTMCell``; the carry is ``(c, h)``.

    Attributes:
        features: Size of the state.
        gate_fn: Of the three gates: a function or a name.
        activation_fn: Of the candidate and of the cell.
        kernel_init: ``(key, shape, dtype) -> array`` or a name, of the kernel, all gates at once;
            ``nn.with_partitioning`` adds axis names.
        recurrent_kernel_init: Likewise, of the recurrent kernel.
        bias_init: Likewise, of the bias.
        dtype: Of the computation; None promotes parameters and inputs.
        param_dtype: Of the parameters.
        carry_init: ``(key, shape, dtype) -> array``, of the first carry.
        use_bias: Whether there is a bias.
        unit_forget_bias: Whether the forget gate's bias starts at one; Flax's does not.
        peephole: As for ``jrnn.LSTMCell``.
        projection: As for ``jrnn.LSTMCell``.
        cell_clip: As for ``jrnn.LSTMCell``.

    Source: ``flax.linen.LSTMCell``, ``flax.linen.OptimizedLSTMCell``; ``jrnn.LSTMCell``.
    """

    features: int
    gate_fn: Any = "sigmoid"
    activation_fn: Any = "tanh"
    kernel_init: Initializer = "lecun_normal"
    recurrent_kernel_init: Initializer = "orthogonal"
    bias_init: Initializer = "zeros"
    dtype: DTypeLike | None = None
    param_dtype: DTypeLike = jnp.float32
    carry_init: Initializer = nn.initializers.zeros_init()
    use_bias: bool = True
    unit_forget_bias: bool = False
    peephole: bool = False
    projection: int | None = None
    cell_clip: float | None = None

    @property
    def plain(self) -> jrnn.LSTMCell:
        """The cell of jrnn."""
        own = ("unit_forget_bias", "peephole", "projection", "cell_clip")
        options = {name: getattr(self, name) for name in own}
        return jrnn.LSTMCell(*_functions(self), **options, **_initializers(self))


OptimizedLSTMCell = LSTMCell
"""`LSTMCell`: Flax has two, which compute the same."""


class SRUCell(CellModule):
    """``jrnn.SRUCell``; the carry is its cell state; attributes as ``SimpleCell`` has."""

    features: int
    activation_fn: Any = "tanh"
    kernel_init: Initializer = "lecun_normal"
    bias_init: Initializer = "zeros"
    dtype: DTypeLike | None = None
    param_dtype: DTypeLike = jnp.float32
    carry_init: Initializer = nn.initializers.zeros_init()
    use_bias: bool = True

    @property
    def plain(self) -> jrnn.SRUCell:
        """The cell of jrnn."""
        return jrnn.SRUCell(plain_function(self.activation_fn), **_initializers(self))


class ConvLSTMCell(CellModule):
    """A convolutional LSTM, with the attributes of ``flax.linen.ConvLSTMCell``.

    Inputs are [..., *S, C], the carry is ``(c, h)``.

    Attributes:
        features: Channels of the state.
        kernel_size: Of the windows: a size for each axis of an image, which are 1, 2 or 3.
        strides: Of the input's windows; None for 1.
        padding: "SAME" or "VALID", in any case.
        use_bias: Whether there is a bias.

    Source: ``flax.linen.ConvLSTMCell``; ``jrnn.ConvLSTMCell``.
    """

    features: int
    kernel_size: Sequence[int]
    strides: Sequence[int] | int | None = None
    padding: str = "SAME"
    use_bias: bool = True
    dtype: DTypeLike | None = None
    param_dtype: DTypeLike = jnp.float32
    carry_init: Initializer = nn.initializers.zeros_init()
    gate_fn: Any = "sigmoid"
    activation_fn: Any = "tanh"
    kernel_init: Initializer = "lecun_normal"
    recurrent_kernel_init: Initializer = "orthogonal"
    bias_init: Initializer = "zeros"
    unit_forget_bias: bool = False

    @property
    def plain(self) -> jrnn.ConvLSTMCell:
        """The cell of jrnn."""
        strides: Any = self.strides or 1
        padding: Any = self.padding.lower()
        activation, gate = _functions(self)
        return jrnn.ConvLSTMCell(
            rank=len(window(self.kernel_size)),
            kernel_size=window(self.kernel_size),
            strides=strides if isinstance(strides, int) else tuple(strides),
            padding=padding,
            activation=activation,
            recurrent_activation=gate,
            unit_forget_bias=self.unit_forget_bias,
            **_initializers(self),
        )


def _functions(module: Any) -> tuple[Any, Any]:
    return plain_function(module.activation_fn), plain_function(module.gate_fn)


def _initializers(module: Any) -> dict[str, Any]:
    words = {
        "kernel_initializer": "kernel_init",
        "recurrent_initializer": "recurrent_kernel_init",
        "bias_initializer": "bias_init",
    }
    given = {option: getattr(module, word, None) for option, word in words.items()}
    return {"use_bias": module.use_bias} | {k: v for k, v in given.items() if v is not None}


def _is_flat(params: Any) -> bool:
    """Returns whether the parameters are one NamedTuple of arrays."""
    fields = getattr(params, "_fields", None)
    return fields is not None and not any(isinstance(field, tuple) for field in params)
