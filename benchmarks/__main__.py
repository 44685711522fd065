"""``python -m benchmarks run | report | growth``; see README.md."""

import argparse
from pathlib import Path

from benchmarks import cases, growth
from benchmarks.coordinator import Settings, run
from benchmarks.peers import ENTRIES, PARTNERS
from benchmarks.report import write_report

PEERS = [name for name in ENTRIES if name not in PARTNERS.values()]


def main() -> None:
    """Reads the command line and does what it says."""
    arguments = _parser().parse_args()
    if arguments.command == "report":
        for path in write_report(arguments.results):
            print(path)
        return
    settings = Settings(arguments.rounds, arguments.min_time, arguments.device)
    if arguments.command == "growth":
        chosen = growth.cases(arguments.cells, arguments.modes, arguments.steps)
    else:
        chosen = cases.grid(arguments.cells, arguments.modes, arguments.layouts, arguments.shapes)
    try:
        run(chosen, arguments.peers, arguments.out, settings, fresh=arguments.fresh)
    except KeyboardInterrupt:
        raise SystemExit(f"stopped; the same command goes on with {arguments.out}") from None
    if arguments.command == "growth":
        print(growth.write_report(arguments.out))


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
    report.add_argument("results", type=Path)
    return parser


def _add_common(parser: argparse.ArgumentParser, peers: list[str]) -> None:
    parser.add_argument("--out", type=Path, required=True, help="results file, added to")
    parser.add_argument("--peers", type=_peers, default=peers, metavar="A,B")
    parser.add_argument("--cells", type=_names(cases.CELLS), default=list(cases.CELLS))
    parser.add_argument("--modes", type=_names(cases.MODES), default=list(cases.MODES))
    parser.add_argument("--rounds", type=int, default=Settings.rounds)
    parser.add_argument("--min-time", type=float, default=Settings.min_time, help="s per turn")
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


def _shapes(text: str) -> list[cases.Shape]:
    return [cases.Shape.parse(part) for part in text.split(",")]


def _integers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


if __name__ == "__main__":
    main()
