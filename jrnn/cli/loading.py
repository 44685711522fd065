"""The files a command names -> the model."""

import argparse
from contextlib import AbstractContextManager

from jrnn.keras_loader.isolated import open_isolated
from jrnn.keras_loader.load import Loaded, load
from jrnn.keras_loader.read import KerasFile, open_keras


def open_named(args: argparse.Namespace) -> AbstractContextManager[KerasFile]:
    """Opens FILE alone."""
    return (open_isolated if args.isolated else open_keras)(args.file)


def load_named(args: argparse.Namespace, backend: str | None = None) -> Loaded:
    """Returns what FILE, --weights, --config and --backend describe."""
    return load(
        args.file,
        config=args.config,
        weights=args.weights,
        backend=backend or args.backend,
        isolated=args.isolated,
    )
