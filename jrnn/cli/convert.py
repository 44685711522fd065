"""``jrnn convert``: parameters under readable names, for other tools."""

import argparse
import os
from collections.abc import Mapping
from typing import Any, BinaryIO

import jax
import numpy as np

from jrnn import __version__
from jrnn.cli.arrays import save_npz, written_whole
from jrnn.cli.loading import load_named
from jrnn.cli.terminal import printable, say, show_table, text_of_shape
from jrnn.keras_loader.load import Loaded


def run(args: argparse.Namespace) -> int:
    """Writes the parameters and lists them."""
    suffix = os.path.splitext(args.out)[1].lower()
    if suffix not in (".safetensors", ".npz"):
        raise ValueError(f"{args.out!r}: expected a name ending in .safetensors or .npz")
    if suffix == ".safetensors":
        _safetensors()
    with written_whole(args.out) as file:
        loaded = load_named(args)
        arrays = named_arrays(loaded.params)
        if suffix == ".npz":
            save_npz(file, arrays)
        else:
            _save_safetensors(file, arrays, loaded)
    rows = [(name, text_of_shape(array.shape), array.dtype) for name, array in arrays.items()]
    show_table(("array", "shape", "dtype"), rows)
    count = sum(array.size for array in arrays.values())
    say(f"{len(arrays)} arrays, {count:,} numbers -> {args.out}")
    return 0


def named_arrays(params: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Returns every array by its path, such as ``bidirectional/forward/kernel``."""
    arrays: dict[str, np.ndarray] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        if name in arrays:
            raise ValueError(
                f"two arrays would be named {name!r}, as a layer's name holds '/'; rename it in "
                "Keras"
            )
        if not name.isprintable():
            raise ValueError(f"an array cannot be named '{printable(name)}'; rename the layer")
        arrays[name] = np.asarray(leaf)
    return arrays


def _safetensors() -> Any:
    try:
        import safetensors.numpy
    except ImportError:
        raise ValueError(
            'safetensors is not installed; install it with: pip install "jrnn[safetensors]"'
        ) from None
    return safetensors.numpy


def _save_safetensors(file: BinaryIO, arrays: Mapping[str, np.ndarray], loaded: Loaded) -> None:
    metadata = {
        "format": "jrnn",
        "jrnn": __version__,
        "model": loaded.model.name,
        "writer": str(loaded.writer),
    }
    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    file.write(_safetensors().save(contiguous, metadata))
