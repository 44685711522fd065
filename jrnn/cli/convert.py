"""``jrnn convert``: a model as a file of Keras 3, or its parameters for other tools."""

import argparse
import os
from collections.abc import Mapping
from typing import Any, BinaryIO

import jax
import numpy as np

from jrnn import __version__
from jrnn.cli.arrays import save_npz
from jrnn.cli.loading import load_named
from jrnn.cli.terminal import printable, say, show_table, text_of_shape
from jrnn.keras_loader.load import Loaded
from jrnn.keras_loader.save import BACKENDS, SUFFIXES, save_keras
from jrnn.keras_loader.whole_file import written_whole


def run(args: argparse.Namespace) -> int:
    """Writes the model or its parameters, and lists these."""
    suffix = os.path.splitext(args.out)[1].lower()
    if suffix in (".keras", ".h5"):  # of .weights.h5, too
        loaded = load_named(args)
        arrays = named_arrays(loaded.params)
        save_keras(args.out, loaded.model, loaded.params, backend=_backend(loaded))
    elif suffix in (".safetensors", ".npz"):
        arrays = _write_arrays(args, suffix)
    else:
        endings = (*SUFFIXES, ".safetensors", ".npz")
        raise ValueError(f"{args.out!r}: expected a name ending in one of {', '.join(endings)}")
    rows = [(name, text_of_shape(array.shape), array.dtype) for name, array in arrays.items()]
    show_table(("array", "shape", "dtype"), rows)
    count = sum(array.size for array in arrays.values())
    say(f"{len(arrays)} arrays, {count:,} numbers -> {args.out}")
    return 0


def _backend(loaded: Loaded) -> str:
    """Returns what Keras 3 ran on where it wrote the file, else what Keras 2 is nearest to."""
    writer = loaded.writer
    found = writer.backend if writer is not None and writer.major >= 3 else None
    return found if found in BACKENDS else "tensorflow"


def _write_arrays(args: argparse.Namespace, suffix: str) -> dict[str, np.ndarray]:
    """Writes the parameters under readable names, and returns them."""
    if suffix == ".safetensors":
        _safetensors()
    with written_whole(args.out) as file:
        loaded = load_named(args)
        arrays = named_arrays(loaded.params)
        if suffix == ".npz":
            save_npz(file, arrays)
        else:
            _save_safetensors(file, arrays, loaded)
    return arrays


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
