"""The convolution that cells of images are made of, and its derivative."""

import functools
import itertools
import math
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, PartitionSpec

from jrnn.cells.base import is_narrow

Padding = Literal["VALID", "SAME"] | list[tuple[int, int]]


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
