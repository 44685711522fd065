"""Convolutions of images, and what the cells made of them share."""

import dataclasses
import functools
import itertools
import math
import numbers
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, PartitionSpec
from jax.typing import ArrayLike, DTypeLike

from jrnn import activations, initializers
from jrnn.activations import Activation
from jrnn.cells.base import (
    Cell,
    Masks,
    check_floating,
    check_shape,
    check_sizes,
    is_narrow,
    masked_product,
    to_rank,
    wide,
)
from jrnn.initializers import Initializer

Sizes = int | tuple[int, ...]
Padding = Literal["VALID", "SAME"] | list[tuple[int, int]]


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


def convolve(
    xs: jax.Array,
    kernel: jax.Array,
    strides: tuple[int, ...],
    padding: Padding,
    dilation: tuple[int, ...],
    channels_first: bool,
) -> jax.Array:
    """Returns the cross-correlation of every image of ``xs`` with a kernel.

    At the pixel ``p`` it is the sum of ``padded[p * strides + q * dilation] @ kernel[q]`` over the
    pixels ``q`` of the window; of 16-bit operands it is summed in float32 and is so.

    Args:
        xs: Images [..., *S, C] ([..., C, *S] if ``channels_first``), any leading axes.
        kernel: [*K, C, G], with as many sizes K as an image has.
        strides: Steps of the window, one for each axis of an image.
        padding: As in ``jax.lax.conv_general_dilated``.
        dilation: Distances of the pixels in a window.
        channels_first: Where the channels stand in ``xs`` and in the result.
    """
    run = functools.partial(_convolve_all, strides, padding, dilation, channels_first)
    if AxisType.Explicit not in jax.sharding.get_abstract_mesh().axis_types:
        return run(xs, kernel)
    rank = kernel.ndim - 2
    leading = jax.typeof(xs).sharding.spec[: xs.ndim - rank - 1]
    image = [None] * rank
    image.insert(0 if channels_first else rank, jax.typeof(kernel).sharding.spec[-1])
    # What JAX has no rule for is left to the compiler, all but where the result lies.
    spec = PartitionSpec(*leading, *image)
    automatic: Any = jax.sharding.auto_axes(run, out_sharding=spec)
    return automatic(xs, kernel)


def _convolve_all(strides, padding, dilation, channels_first, xs, kernel) -> jax.Array:
    rank = kernel.ndim - 2
    leading = xs.shape[: xs.ndim - rank - 1]
    dtype = jnp.result_type(xs, kernel)
    images = xs.reshape(math.prod(leading), *xs.shape[len(leading) :])
    sizes = images.shape[2:] if channels_first else images.shape[1:-1]
    if isinstance(padding, str):
        spans = [
            (width - 1) * step + 1 for width, step in zip(kernel.shape, dilation, strict=False)
        ]
        padding = jax.lax.padtype_to_pads(sizes, spans, strides, padding)
    window = _Window(
        strides,
        tuple((before, after) for before, after in padding),
        dilation,
        channels_first,
        is_narrow(dtype),
    )
    ys = _correlate(window, images.astype(dtype), kernel.astype(dtype))
    return ys.reshape(*leading, *ys.shape[1:])


class _Window(NamedTuple):
    """How a window goes over an image."""

    strides: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]
    channels_first: bool
    sums_widely: bool  # in float32, and the result is so


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _correlate(window: _Window, images: jax.Array, kernel: jax.Array) -> jax.Array:
    axes = "XYZ"[: kernel.ndim - 2]
    layout = f"NC{axes}" if window.channels_first else f"N{axes}C"
    return jax.lax.conv_general_dilated(
        images,
        kernel,
        window.strides,
        window.padding,
        rhs_dilation=window.dilation,
        dimension_numbers=(layout, f"{axes}IO", layout),
        preferred_element_type=jnp.float32 if window.sums_widely else None,
    )


@_correlate.defjvp
def _correlate_jvp(window, primals, tangents):
    """In the kernel it is a product for each pixel of the window: so are its gradients.

    XLA's rule for a convolution would make the kernel's gradient another convolution, whose window
    is as large as the image.
    """
    images, kernel = primals
    ys = _correlate(window, images, kernel)
    # Cotangents are rounded to 16 bits again, as for products (``base.product``).
    narrow = window._replace(sums_widely=False)
    tangent = _correlate(narrow, tangents[0], kernel).astype(ys.dtype)
    first = 2 if window.channels_first else 1
    sizes = ys.shape[first : first + kernel.ndim - 2]
    for pixel in itertools.product(*map(range, kernel.shape[:-2])):
        seen = _seen_by(window, images, pixel, sizes, first)
        product = jnp.moveaxis(seen, 1, -1) if window.channels_first else seen
        product = (product @ tangents[1][pixel]).astype(ys.dtype)
        tangent = tangent + (jnp.moveaxis(product, -1, 1) if window.channels_first else product)
    return ys, tangent


def _seen_by(window: _Window, images, pixel: tuple[int, ...], sizes, first: int) -> jax.Array:
    """Returns what one pixel of the window sees at each of its places."""
    configuration = [(0, 0, 0)] * images.ndim
    starts, stops, steps = [0] * images.ndim, list(images.shape), [1] * images.ndim
    for axis, (before, after) in enumerate(window.padding, first):
        k = axis - first
        configuration[axis] = (before, after, 0)
        starts[axis] = pixel[k] * window.dilation[k]
        steps[axis] = window.strides[k]
        stops[axis] = starts[axis] + (sizes[k] - 1) * steps[axis] + 1
    padded = jax.lax.pad(images, jnp.zeros((), images.dtype), configuration)
    return jax.lax.slice(padded, starts, stops, steps)


def _half_padding(size: int, width: int, stride: int, dilation: int) -> tuple[int, int]:
    """Returns Theano's padding: windows start half their width before the image."""
    width = dilation * (width - 1) + 1
    last = (-(-size // stride) - 1) * stride
    before = width // 2
    return before, last + width - size - before  # below zero where pixels are left over
