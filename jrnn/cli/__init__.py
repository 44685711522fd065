"""The command line: ``jrnn inspect | run | stream | verify | convert | demo | train``.

Each command is a module with a function ``run(args) -> status``, imported when it is asked for.
"""

import argparse
import importlib
import io
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

MISMATCH, FAILED, BROKEN_PIPE = 1, 2, 141  # 141: what a shell shows for a tool that SIGPIPE ended


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status.

    Whatever goes wrong is one line on standard error, ``jrnn: error: ...``; with the environment
    variable JRNN_TRACEBACK=1 a traceback precedes it.

    Args:
        argv: The arguments after the program's name; None takes ``sys.argv``'s.

    Returns:
        0: done; 1: ``verify`` found a mismatch; 2: an error; 141: the reader of the output left.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name that the terminal cannot show is no error
            stream.reconfigure(errors="backslashreplace")
    try:
        args = _parser().parse_args(argv)
        status = importlib.import_module(f"jrnn.cli.{args.command}").run(args)
        sys.stdout.flush()
        return status
    except SystemExit as done:  # argparse: --help, --version, a wrong argument
        return done.code if isinstance(done.code, int) else FAILED
    except BrokenPipeError:
        # Python flushes standard output once more at exit, which must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except (Exception, KeyboardInterrupt) as error:
        show_error(error)
        return FAILED


def show_error(error: BaseException) -> None:
    """Prints what went wrong, in one line on standard error."""
    from jrnn.cli.terminal import one_line

    if os.environ.get("JRNN_TRACEBACK") == "1":
        import traceback

        traceback.print_exception(error)
    if isinstance(error, KeyboardInterrupt):
        said = "interrupted"
    elif isinstance(error, MemoryError):
        said = f"not enough memory: {str(error) or 'a smaller --batch-size may help'}"
    elif isinstance(error, OSError) and error.strerror:
        said = f"{error.filename!r}: {error.strerror}" if error.filename else error.strerror
    elif isinstance(error, ValueError | RuntimeError) and str(error):
        said = str(error)
    else:
        said = f"{type(error).__name__}: {error}"
    sys.stderr.write(f"jrnn: error: {one_line(said)}\n")


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        from jrnn.cli.terminal import one_line

        self.exit(FAILED, f"jrnn: error: {one_line(message)} (see '{self.prog} --help')\n")


class _Version(argparse.Action):
    """Prints jrnn's version; importing it, and JAX with it, waits until then."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from jrnn import __version__

        print(f"jrnn {__version__}")
        parser.exit()


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="jrnn", description="Recurrent models of Keras, run by JAX.")
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _inspect(_command(commands, "inspect", "show what a Keras file holds"))
    _run(_command(commands, "run", "run a model on arrays"))
    _stream(_command(commands, "stream", "answer samples on standard input line by line"))
    _verify(_command(commands, "verify", "compare a model's outputs with recorded ones"))
    _convert(
        _command(
            commands, "convert", "write a model for Keras 3, or its parameters to another format"
        )
    )
    _demo(_command(commands, "demo", "run the model that comes with jrnn and draw its forecasts"))
    _train(_command(commands, "train", "train a model on real data, or go on where it stopped"))
    return parser


def _command(commands: Any, name: str, says: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=says, description=f"{says[0].upper()}{says[1:]}.")
    parser.set_defaults(command=name)
    return parser


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file", metavar="FILE", help="a model, its architecture (JSON) or its weights"
    )
    parser.add_argument("--weights", metavar="W", help="the weights, if FILE has none")
    parser.add_argument(
        "--config", metavar="C", help="the architecture, if FILE is weights: JSON or a model file"
    )
    parser.add_argument(
        "--backend",
        metavar="B",
        help="what Keras ran on (tensorflow, jax, torch, theano, ...), if FILE does not say",
    )
    parser.add_argument(
        "--no-isolation",
        dest="isolated",
        action="store_false",
        help="read the files in this process: sooner, but a hostile one may crash it",
    )


def _inspect(parser: argparse.ArgumentParser) -> None:
    _add_model(parser)


def _run(parser: argparse.ArgumentParser) -> None:
    _add_model(parser)
    parser.add_argument("--input", required=True, metavar="NPZ", help="arrays x0, x1, ...")
    parser.add_argument("--output", required=True, metavar="NPZ", help="where y0, y1, ... go")
    parser.add_argument(
        "--batch-size",
        type=_positive,
        default=32,
        metavar="N",
        help="rows at a time (32); a stateful model takes all at once",
    )


def _stream(parser: argparse.ArgumentParser) -> None:
    _add_model(parser)
    parser.add_argument(
        "--format",
        choices=("csv", "json"),
        default="csv",
        help="numbers with commas (csv), or nested lists (json)",
    )
    parser.add_argument(
        "--state", metavar="NPZ", help="go on from the state in there, if any, and leave the last"
    )


def _verify(parser: argparse.ArgumentParser) -> None:
    _add_model(parser)
    parser.add_argument("--data", required=True, metavar="NPZ", help="x0, ... and y0, ...")
    for name, what in (("rtol", "relative to the recorded value"), ("atol", "absolute")):
        parser.add_argument(
            f"--{name}", type=_tolerance, default=1e-5, help=f"error allowed, {what} (1e-5)"
        )
    parser.add_argument(
        "--calls",
        action="store_true",
        help="the first axis counts calls, between which stateful layers keep their state",
    )
    parser.add_argument(
        "--reset-before",
        type=_indices,
        default=(),
        metavar="I,J",
        help="calls before which the state is reset; it always is before call 0",
    )


def _convert(parser: argparse.ArgumentParser) -> None:
    _add_model(parser)
    parser.add_argument(
        "out",
        metavar="OUT",
        help="a name ending in .keras, .h5, .weights.h5, .safetensors or .npz",
    )


def _demo(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--output", default="jrnn_demo.png", metavar="PNG", help="the picture (jrnn_demo.png)"
    )


def _train(parser: argparse.ArgumentParser) -> None:
    tasks = ("characters", "digits", "forecast")
    parser.add_argument(
        "task", metavar="TASK", choices=tasks, help="characters, digits or forecast"
    )
    parser.add_argument("--output", metavar="DIR", help="the run's folder (runs/TASK)")
    parser.add_argument("--text", metavar="FILE", help="what characters are learned from")
    counts = {
        "steps": "steps in all",
        "units": "units of a layer",
        "batch-size": "rows of a batch",
    }
    for name, what in counts.items():
        parser.add_argument(f"--{name}", type=_positive, metavar="N", help=what)
    parser.add_argument("--seed", type=_count, default=0, metavar="N", help="draws everything (0)")
    parser.add_argument(
        "--save-every",
        type=_positive,
        default=100,
        metavar="N",
        help="steps between checkpoints (100)",
    )
    several = parser.add_argument_group("several devices, several processes")
    several.add_argument(
        "--hidden-shards",
        type=_positive,
        default=1,
        metavar="N",
        help="devices that share a layer (1); the others share the rows",
    )
    several.add_argument(
        "--distributed", action="store_true", help="join the processes of a cluster that JAX knows"
    )
    several.add_argument("--coordinator", metavar="HOST:PORT", help="where process 0 listens")
    several.add_argument("--processes", type=_positive, metavar="N", help="how many there are")
    several.add_argument("--process", type=_count, metavar="I", help="which this is, from 0")


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is not an integer from 0")
    return int(text)


def _positive(text: str) -> int:
    value = int(text) if text.isascii() and text.isdigit() else 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive integer")
    return value


def _tolerance(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0")
    return value


def _indices(text: str) -> tuple[int, ...]:
    parts = text.split(",")
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list like 0,3")
    return tuple(map(int, parts))
