"""How each layer of Keras 3 over steps or pixels is drawn: convolutions, pooling, resizing."""

from collections.abc import Sequence
from typing import Any

from keras import layers

from tests.keras_loader.random_choices import Choices, Entry, Spot, of_axes
from tests.keras_oracle import NAMES as ACTIVATIONS


def data_format(draw: Choices) -> str:
    return draw.one_of(("channels_last", "channels_last", "channels_first"))


def spatial(spot: Spot, where: str) -> tuple[list[int], int]:
    """The sizes of the axes of steps or pixels, and the number of channels."""
    sizes: Any = spot.shape[1:]
    if where == "channels_first":
        return list(sizes[1:]), sizes[0]
    return list(sizes[:-1]), sizes[-1]


def window(draw: Choices, sizes: Sequence[int], *, same: bool = False) -> dict[str, Any]:
    """Sizes, strides and distances of a convolution's window that is inside the image."""
    kernel = [draw.size(1, min(3, size)) for size in sizes]
    found = {"kernel_size": kernel[0] if len(set(kernel)) == 1 and draw.coin() else kernel}
    kind = draw.size(0, 2)
    if kind == 1:
        strides = [draw.size(1, 2) for _ in sizes]
        found["strides"] = strides[:1] * len(sizes) if same else strides
    elif kind == 2:
        most = [
            max(1, min(3, (size - 1) // max(1, k - 1)))
            for size, k in zip(sizes, kernel, strict=True)
        ]
        rates = [draw.size(1, most_here) for most_here in most]
        found["dilation_rate"] = [min(rates)] * len(sizes) if same else rates
    return found


def _convolution(kind: type, rank: int, *extra: str) -> Entry:
    def make(draw: Choices, spot: Spot) -> layers.Layer:
        where = data_format(draw)
        sizes, channels = spatial(spot, where)
        options = window(draw, sizes, same="depth_multiplier" in extra)
        groups = 1
        if "groups" in extra:
            groups = draw.one_of([n for n in range(1, channels + 1) if channels % n == 0])
            options["groups"] = groups
        if "filters" in extra:
            options["filters"] = groups * draw.size(1, 4 if groups == 1 else 2)
        if "depth_multiplier" in extra:
            options["depth_multiplier"] = draw.size(1, 2)
        paddings = ("valid", "same", *(["causal"] if kind is layers.Conv1D else []))
        return kind(
            data_format=where,
            padding=draw.one_of(paddings),
            activation=draw.one_of((None, *ACTIVATIONS)),
            use_bias=draw.coin(),
            **options,
        )

    return Entry(make, of_axes(rank + 2))


def _transposed(kind: type, rank: int) -> Entry:
    def make(draw: Choices, spot: Spot) -> layers.Layer:
        where = data_format(draw)
        options = window(draw, spatial(spot, where)[0])
        strides = options.get("strides", [1] * rank)
        more = [draw.size(0, stride - 1) for stride in strides]
        return kind(
            draw.size(1, 4),
            data_format=where,
            padding=draw.one_of(("valid", "same")),
            output_padding=draw.one_of((None, more)),
            activation=draw.one_of((None, *ACTIVATIONS)),
            use_bias=draw.coin(),
            **options,
        )

    return Entry(make, of_axes(rank + 2))


def _adaptive_pooling(kind: type, rank: int) -> Entry:
    def make(draw: Choices, spot: Spot) -> layers.Layer:
        where = data_format(draw)
        # Of 7 windows Keras 3.15 on JAX rounds some to where nothing is: NaN.
        return kind([draw.size(1, 4) for _ in range(rank)], data_format=where)

    return Entry(make, of_axes(rank + 2))


def _pooling(kind: type, rank: int) -> Entry:
    def make(draw: Choices, spot: Spot) -> layers.Layer:
        where = data_format(draw)
        sizes, _ = spatial(spot, where)
        return kind(
            pool_size=[draw.size(1, min(3, size)) for size in sizes],
            strides=draw.one_of((None, [draw.size(1, 3) for _ in sizes])),
            padding=draw.one_of(("valid", "same")),
            data_format=where,
        )

    return Entry(make, of_axes(rank + 2))


def _global_pooling(kind: type, rank: int) -> Entry:
    # A mask of more axes than steps does not fit, nor does one where the steps come last.
    def make(draw: Choices, spot: Spot) -> layers.Layer:
        where = "channels_last" if spot.mask_axes else data_format(draw)
        return kind(data_format=where, keepdims=draw.coin())

    average = kind is layers.GlobalAveragePooling1D
    return Entry(
        make, lambda s: s.axes == rank + 2 and s.known and (not average or s.mask_axes in (0, 2))
    )


def _ends(draw: Choices, sizes: Sequence[int], *, inside: bool) -> Any:
    """Amounts before and after each axis; ``inside`` leaves something of it."""
    pairs = []
    for size in sizes:
        most = (size - 1) // 2 if inside else 2
        pairs.append((draw.size(0, most), draw.size(0, most)))
    return pairs[0] if len(pairs) == 1 else tuple(pairs)


def _cropping(kind: type, rank: int) -> Entry:
    def make(draw: Choices, spot: Spot) -> layers.Layer:
        where = "channels_last" if rank == 1 else data_format(draw)
        options = {} if rank == 1 else {"data_format": where}
        return kind(_ends(draw, spatial(spot, where)[0], inside=True), **options)

    return Entry(make, of_axes(rank + 2))


def _zero_padding(kind: type, rank: int) -> Entry:
    def make(draw: Choices, spot: Spot) -> layers.Layer:
        where = data_format(draw)
        ends = _ends(draw, spatial(spot, where)[0], inside=False)
        return kind(ends, data_format=where)

    return Entry(make, of_axes(rank + 2))


def _up_sampling_1d(draw: Choices, spot: Spot) -> layers.Layer:
    return layers.UpSampling1D(draw.size(1, 3))


def _up_sampling_2d(draw: Choices, spot: Spot) -> layers.Layer:
    return layers.UpSampling2D(
        (draw.size(1, 2), draw.size(1, 3)),
        data_format=data_format(draw),
        interpolation=draw.one_of(("nearest", "bilinear")),
    )


def _up_sampling_3d(draw: Choices, spot: Spot) -> layers.Layer:
    sizes = [draw.size(1, 2) for _ in range(3)]
    return layers.UpSampling3D(sizes, data_format=data_format(draw))


ADAPTIVE = {
    f"Adaptive{mode}Pooling{rank}D": _adaptive_pooling(
        getattr(layers, f"Adaptive{mode}Pooling{rank}D"), rank
    )
    for mode in ("Average", "Max")
    for rank in (1, 2, 3)
    if hasattr(layers, "AdaptiveMaxPooling1D")  # from Keras 3.12 on
}
SPATIAL = {
    **ADAPTIVE,
    "AveragePooling1D": _pooling(layers.AveragePooling1D, 1),
    "AveragePooling2D": _pooling(layers.AveragePooling2D, 2),
    "AveragePooling3D": _pooling(layers.AveragePooling3D, 3),
    "Conv1D": _convolution(layers.Conv1D, 1, "filters", "groups"),
    "Conv2D": _convolution(layers.Conv2D, 2, "filters", "groups"),
    "Conv3D": _convolution(layers.Conv3D, 3, "filters", "groups"),
    "Conv1DTranspose": _transposed(layers.Conv1DTranspose, 1),
    "Conv2DTranspose": _transposed(layers.Conv2DTranspose, 2),
    "Conv3DTranspose": _transposed(layers.Conv3DTranspose, 3),
    "Cropping1D": _cropping(layers.Cropping1D, 1),
    "Cropping2D": _cropping(layers.Cropping2D, 2),
    "Cropping3D": _cropping(layers.Cropping3D, 3),
    "DepthwiseConv1D": _convolution(layers.DepthwiseConv1D, 1, "depth_multiplier"),
    "DepthwiseConv2D": _convolution(layers.DepthwiseConv2D, 2, "depth_multiplier"),
    "GlobalAveragePooling1D": _global_pooling(layers.GlobalAveragePooling1D, 1),
    "GlobalAveragePooling2D": _global_pooling(layers.GlobalAveragePooling2D, 2),
    "GlobalAveragePooling3D": _global_pooling(layers.GlobalAveragePooling3D, 3),
    "GlobalMaxPooling1D": _global_pooling(layers.GlobalMaxPooling1D, 1),
    "GlobalMaxPooling2D": _global_pooling(layers.GlobalMaxPooling2D, 2),
    "GlobalMaxPooling3D": _global_pooling(layers.GlobalMaxPooling3D, 3),
    "MaxPooling1D": _pooling(layers.MaxPooling1D, 1),
    "MaxPooling2D": _pooling(layers.MaxPooling2D, 2),
    "MaxPooling3D": _pooling(layers.MaxPooling3D, 3),
    "SeparableConv1D": _convolution(layers.SeparableConv1D, 1, "filters", "depth_multiplier"),
    "SeparableConv2D": _convolution(layers.SeparableConv2D, 2, "filters", "depth_multiplier"),
    "UpSampling1D": Entry(_up_sampling_1d, of_axes(3)),
    "UpSampling2D": Entry(_up_sampling_2d, of_axes(4)),
    "UpSampling3D": Entry(_up_sampling_3d, of_axes(5)),
    "ZeroPadding1D": _zero_padding(layers.ZeroPadding1D, 1),
    "ZeroPadding2D": _zero_padding(layers.ZeroPadding2D, 2),
    "ZeroPadding3D": _zero_padding(layers.ZeroPadding3D, 3),
}
