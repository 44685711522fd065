"""``jrnn demo``."""

import argparse

from jrnn.demo import run_demo


def run(args: argparse.Namespace) -> int:
    """Runs the demo; its picture goes to ``--output``."""
    run_demo(args.output)
    return 0
