"""One array of a file, known by shape and dtype, read only when asked for."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import prod

import ml_dtypes
import numpy as np

from jrnn.keras_loader.errors import KerasFileError, reading, shown

DTYPES = {
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
    "float32": np.dtype(np.float32),
    "float64": np.dtype(np.float64),
    **{
        f"{sign}int{bits}": np.dtype(f"{sign}int{bits}")
        for sign in ("", "u")
        for bits in (8, 16, 32, 64)
    },
}


@dataclass(frozen=True)
class StoredArray:
    """An array in a model file.

    Attributes:
        path: where it lies, for messages and checks of the leaf name: "lstm_1/lstm_1/kernel:0"
            (legacy files, as listed in `weight_names`) or "layers/lstm/cell/vars/0".
        shape: the stored shape, rank 0 to 6.
        dtype: a key of `DTYPES`.
        load: reads the values from the open file.
        where: the file and the place in it, for error messages.
    """

    path: str
    shape: tuple[int, ...]
    dtype: str
    load: Callable[[], np.ndarray] = field(repr=False, compare=False)
    where: str = field(default="array", repr=False, compare=False)

    def read(self) -> np.ndarray:
        """Returns the values, in this machine's byte order.

        Raises:
            KerasFileError: if the file is damaged there, or already closed.
        """
        with reading(self.where):
            values = np.asarray(self.load())
            target = DTYPES[self.dtype]
            opaque = values.dtype.kind == "V" and values.dtype != target
            values = values.view(target) if opaque else values.astype(target, copy=False)
            if values.shape != self.shape:
                raise KerasFileError(
                    f"{self.where}: expected shape {self.shape} for {shown(self.path)}, found "
                    f"{values.shape}; the file changed while it was read"
                )
            return values


def aligned(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Returns an empty array at a multiple of 64 bytes: JAX can take it over uncopied."""
    size = prod(shape) * dtype.itemsize
    memory = np.empty(size + 64, np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start : start + size].view(dtype).reshape(shape)


def converted(
    array: StoredArray, shape: tuple[int, ...], convert: Callable[[np.ndarray], np.ndarray]
) -> StoredArray:
    """Returns an array that is converted to ``shape`` as it is read."""
    return replace(array, shape=shape, load=lambda: convert(array.read()))


def turned(
    array: StoredArray, order: tuple[int, ...], reversed_axes: tuple[int, ...]
) -> StoredArray:
    """Returns an array with its axes in another order and some of them reversed."""
    if order == tuple(range(len(order))) and not reversed_axes:
        return array
    return converted(
        array,
        tuple(array.shape[axis] for axis in order),
        lambda values: np.flip(np.transpose(values, order), reversed_axes),
    )
