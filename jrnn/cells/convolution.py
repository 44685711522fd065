"""Convolutions of images, and what the cells made of them share."""

import dataclasses
import numbers
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike

from jrnn import activations, initializers
from jrnn.activations import Activation
from jrnn.cells.base import (
    Cell,
    Masks,
    check_floating,
    check_shape,
    check_sizes,
    masked_product,
    to_rank,
    wide,
)
from jrnn.cells.correlation import Padding, convolve
from jrnn.initializers import Initializer

Sizes = int | tuple[int, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConvCell(Cell):
    """What cells share whose two products are convolutions; ``ConvLSTMCell`` tells the options.

    Images are ``[..., *S, C]``, or ``[..., C, *S]`` with ``data_format="channels_first"``;
    ``S`` stands for the ``rank`` sizes of an image, ``C`` for its channels.
    """

    rank: int = 2
    kernel_size: Sizes = 3
    strides: Sizes = 1
    padding: Literal["valid", "same"] = "valid"
    dilation: Sizes = 1
    data_format: Literal["channels_last", "channels_first"] = "channels_last"
    same_rule: Literal["tensorflow", "theano"] = "tensorflow"
    activation: Activation | str = "tanh"
    recurrent_activation: Activation | str = "sigmoid"
    use_bias: bool = True
    kernel_initializer: Initializer | str = "glorot_uniform"
    recurrent_initializer: Initializer | str = "orthogonal"
    bias_initializer: Initializer | str = "zeros"

    def __post_init__(self) -> None:
        self._check_choice("rank", (1, 2, 3))
        self._check_choice("padding", ("valid", "same"))
        self._check_choice("data_format", ("channels_last", "channels_first"))
        self._check_choice("same_rule", ("tensorflow", "theano"))
        for name in ("kernel_size", "strides", "dilation"):
            object.__setattr__(self, name, self._given_sizes(name))
        for draw in (self.kernel_initializer, self.recurrent_initializer, self.bias_initializer):
            initializers.get(draw)
        activations.get(self.activation)
        activations.get(self.recurrent_activation)

    @property
    def feature_ndim(self) -> int:
        """Number of feature axes of the input: those of an image, and its channels."""
        return self.rank + 1

    @property
    def channel_axis(self) -> int:
        """The axis of the channels, counted from the end."""
        return -1 - self.rank if self.data_format == "channels_first" else -1

    def _init_arrays(
        self, key: jax.Array, features: int, units: int, gates: int, dtype: DTypeLike
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Returns a fresh kernel and recurrent kernel, and the key for a bias."""
        check_sizes(f"{type(self).__name__}.init", features=features, units=units)
        keys = jax.random.split(key, 3)
        sizes, width = self.sizes("kernel_size"), gates * units
        kernel = initializers.get(self.kernel_initializer)
        recurrent = initializers.get(self.recurrent_initializer)
        return (
            kernel(keys[0], (*sizes, features, width), dtype),
            recurrent(keys[1], (*sizes, units, width), dtype),
            keys[2],
        )

    def _zeros(self, params: Any, z: jax.Array, gates: int) -> jax.Array:
        """Returns zeros of a state that follow one step's projected input."""
        dtype = jnp.result_type(z, *jax.tree.leaves(params))
        # A slice of z, not a new shape: only so do its sharding and varying axes follow.
        return jnp.zeros_like(self._split(z, gates)[0], dtype=dtype)

    def _of_input(self, params: Any, xs: ArrayLike, gates: int, masks: Masks) -> jax.Array:
        """Returns the input's convolution, all shapes checked."""
        who = type(self).__name__
        kernel, recurrent = params.kernel, params.recurrent_kernel
        for name, array in (("kernel", kernel), ("recurrent_kernel", recurrent)):
            if array.ndim != self.rank + 2:
                raise ValueError(
                    f"{who}: {name} has shape {array.shape}, but rank={self.rank} needs "
                    f"{self.rank + 2} axes; make the cell with the rank of its images"
                )
        units = kernel.shape[-1] // gates
        check_shape(who, "kernel", kernel, (*kernel.shape[:-1], gates * units))
        expected = (*recurrent.shape[: self.rank], units, gates * units)
        check_shape(who, "recurrent_kernel", recurrent, expected)
        xs = check_floating(who, xs)
        if xs.ndim < self.feature_ndim or xs.shape[self.channel_axis] != kernel.shape[-2]:
            image = "[..., C, *S]" if self.channel_axis != -1 else "[..., *S, C]"
            raise ValueError(
                f"{who}: x has shape {xs.shape}, but kernel {kernel.shape} needs {image} with "
                f"{self.rank} sizes and {kernel.shape[-2]} channels"
            )
        strides, dilation = self.sizes("strides"), self.sizes("dilation")

        def convolve(xs, kernel):
            return self._convolve(xs, kernel, strides, self.padding == "same", dilation)

        zs = masked_product(xs, kernel, masks, convolve, self.channel_axis)
        if 0 in zs.shape[zs.ndim - self.feature_ndim :] and 0 not in xs.shape:
            raise ValueError(
                f"{who}: x has shape {xs.shape}, but kernel {kernel.shape} with padding='valid' "
                "needs images at least as large as it is; use padding='same'"
            )
        return zs

    def _of_state(self, kernel: jax.Array, hidden: jax.Array, masks: Masks) -> jax.Array:
        """Returns the state's convolution: of every pixel, so that the state keeps its size."""
        ones = (1,) * self.rank

        def convolve(hidden, kernel):
            return self._convolve(hidden, kernel, ones, True, ones)

        return masked_product(hidden, kernel, masks, convolve, self.channel_axis)

    def _convolve(self, xs, kernel, strides, same: bool, dilation) -> jax.Array:
        end = xs.ndim - 1 if self.channel_axis == -1 else xs.ndim
        padding: Padding = "SAME" if same else "VALID"
        if same and self.same_rule == "theano":
            sizes = xs.shape[end - self.rank : end]
            spans = zip(sizes, kernel.shape, strides, dilation, strict=False)
            padding = [_half_padding(*span) for span in spans]
        return convolve(xs, kernel, strides, padding, dilation, self.channel_axis != -1)

    def _add_bias(self, zs: jax.Array, bias: jax.Array) -> jax.Array:
        bias = bias if self.channel_axis == -1 else bias.reshape(-1, *[1] * self.rank)
        return zs + to_rank(wide(bias), zs)

    def _split(self, array: jax.Array, parts: int) -> list[jax.Array]:
        return jnp.split(array, parts, axis=self.channel_axis)

    def sizes(self, name: str) -> tuple[int, ...]:
        """Returns an option that has one size for each axis of an image, by its name."""
        sizes = getattr(self, name)
        assert isinstance(sizes, tuple), "made one in __post_init__"
        return sizes

    def _given_sizes(self, name: str) -> tuple[int, ...]:
        """Returns an option as one size for each axis of an image."""
        given = getattr(self, name)
        sizes = (given,) * self.rank if isinstance(given, numbers.Integral) else given
        if not isinstance(sizes, tuple | list) or len(sizes) != self.rank:
            raise ValueError(
                f"{type(self).__name__}: {name} is {given!r}, but one positive integer or "
                f"{self.rank} of them are needed, one for each axis of an image"
            )
        check_sizes(type(self).__name__, **{f"{name}[{k}]": size for k, size in enumerate(sizes)})
        return tuple(int(size) for size in sizes)

    def _check_choice(self, name: str, choices: tuple) -> None:
        if (given := getattr(self, name)) not in choices or isinstance(given, bool):
            raise ValueError(
                f"{type(self).__name__}: {name} is {given!r}, but one of {choices} is needed"
            )


def _half_padding(size: int, width: int, stride: int, dilation: int) -> tuple[int, int]:
    """Returns Theano's padding: windows start half their width before the image."""
    width = dilation * (width - 1) + 1
    last = (-(-size // stride) - 1) * stride
    before = width // 2
    return before, last + width - size - before  # below zero where pixels are left over
