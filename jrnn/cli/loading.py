"""The files a command names -> the model."""

import argparse

from jrnn.keras_loader.load import Loaded, load


def load_named(args: argparse.Namespace, backend: str | None = None) -> Loaded:
    """Returns what FILE, --weights, --config and --backend describe."""
    return load(
        args.file, config=args.config, weights=args.weights, backend=backend or args.backend
    )
