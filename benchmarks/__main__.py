"""``python -m benchmarks run | report | growth``; see README.md."""

import argparse
import math
import signal
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from benchmarks import cases, growth
from benchmarks.coordinator import Settings, run
from benchmarks.peers import ENTRIES, PARTNERS
from benchmarks.report import write_report
from benchmarks.results import ResultsFileError

PEERS = [name for name in ENTRIES if name not in PARTNERS.values()]


def main() -> None:
    """Reads the command line and does what it says."""
    parser = _parser()
    arguments = parser.parse_args()
    try:
        if arguments.command == "report":
            for path in write_report(arguments.results):
                print(path)
        else:
            _time(parser, arguments)
    except ResultsFileError as error:
        parser.error(str(error))


def _time(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    settings = Settings(arguments.rounds, arguments.min_time, arguments.device)
    if arguments.command == "growth":
        chosen = growth.cases(arguments.cells, arguments.modes, arguments.steps)
    else:
        chosen = cases.grid(arguments.cells, arguments.modes, arguments.layouts, arguments.shapes)
    if not chosen:
        parser.error(f"none of the shapes is one for {', '.join(arguments.cells)}")
    try:
        run(chosen, arguments.peers, arguments.out, settings, fresh=arguments.fresh)
    except KeyboardInterrupt:
        raise SystemExit(f"stopped; the same command goes on with {arguments.out}") from None
    if arguments.command == "growth":
        print(growth.write_report(arguments.out))


def _stop(*_) -> NoReturn:
    raise KeyboardInterrupt


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    grid = commands.add_parser("run", help="time peers side by side")
    _add_common(grid, PEERS)
    grid.add_argument("--layouts", type=_names(cases.LAYOUTS), default=["plain"], metavar="A,B")
    grid.add_argument("--shapes", type=_shapes, default=cases.GRID, metavar="TxBxFxU,...")
    steps = commands.add_parser("growth", help="time and memory as the sequence gets longer")
    _add_common(steps, ["jrnn"])
    steps.add_argument("--steps", type=_integers, default=growth.STEPS, metavar="T,T,...")
    report = commands.add_parser("report", help="tables and plots of a results file")
    report.add_argument("results", type=_json)
    return parser


def _add_common(parser: argparse.ArgumentParser, peers: list[str]) -> None:
    parser.add_argument("--out", type=_json, required=True, help="results file, added to")
    parser.add_argument("--peers", type=_peers, default=peers, metavar="A,B")
    parser.add_argument("--cells", type=_names(cases.CELLS), default=list(cases.CELLS))
    parser.add_argument("--modes", type=_names(cases.MODES), default=list(cases.MODES))
    parser.add_argument("--rounds", type=_integer, default=Settings.rounds)
    parser.add_argument("--min-time", type=_seconds, default=Settings.min_time, help="s per turn")
    parser.add_argument("--device", choices=("cpu", "gpu"), default=Settings.device)
    parser.add_argument("--fresh", action="store_true", help="run again what the file holds")


def _names(known):
    def split(text: str) -> list[str]:
        names = text.split(",")
        for name in names:
            if name not in known:
                raise argparse.ArgumentTypeError(f"{name!r} is not one of {', '.join(known)}")
        return names

    return split


def _peers(text: str) -> list[str]:
    """A peer of one's own is ``package.module:Class``."""
    return [name for part in text.split(",") for name in ([part] if ":" in part else _known(part))]


def _known(name: str) -> list[str]:
    return _names(ENTRIES)(name)


def _saying_why(read: Callable) -> Callable:
    """Returns ``read`` with errors whose text argparse shows."""

    def reading(text: str):
        try:
            return read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return reading


@_saying_why
def _shapes(text: str) -> list[cases.Shape]:
    return [cases.Shape.parse(part) for part in text.split(",")]


@_saying_why
def _integer(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"{text!r}, but a positive integer is needed")
    return int(text)


def _integers(text: str) -> list[int]:
    return [_integer(part) for part in text.split(",")]


@_saying_why
def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds < math.inf:
        raise ValueError(f"{text!r}, but a time of 0 seconds or more is needed")
    return seconds


@_saying_why
def _json(text: str) -> Path:
    path = Path(text)
    if path.suffix != ".json":  # the tables beside it would take its place
        raise ValueError(f"{text!r}, but a name that ends in .json is needed")
    return path


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _stop)  # or the peers would stay, stopped between their turns
    main()
