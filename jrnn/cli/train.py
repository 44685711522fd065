"""``jrnn train``."""

import argparse
import dataclasses
import os
from pathlib import Path
from typing import Any

import jax

from jrnn.cli import FAILED, show_error
from jrnn.cli.terminal import console, say
from jrnn.examples.characters import Characters
from jrnn.examples.digits import Digits
from jrnn.examples.forecast import Forecast
from jrnn.examples.training import train

TASKS: dict[str, Any] = {task.name: task for task in (Characters, Digits, Forecast)}
# Of XLA's CPU compiler alone. Otherwise loops that do not depend on each other run at once, and
# processes may take the messages of one for the other's: Gloo then says "collective mismatch".
ONE_AFTER_ANOTHER = "--xla_cpu_scheduler_type=CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED"
STEPS = {"characters": 2000, "digits": 600, "forecast": 1500}


def run(args: argparse.Namespace) -> int:
    """Trains a task, or goes on with it, and says what came of it."""
    _join(args)
    task = TASKS[args.task]
    fields = {field.name for field in dataclasses.fields(task)}
    given = {"text": args.text, "units": args.units, "batch_size": args.batch_size}
    choices = {name: value for name, value in given.items() if value is not None}
    if unknown := choices.keys() - fields:
        raise ValueError(f"jrnn train {args.task}: has no --{min(unknown).replace('_', '-')}")
    folder = Path(args.output or f"runs/{args.task}")
    first = jax.process_index() == 0
    try:
        outcome = train(
            task(**choices),
            folder,
            steps=args.steps or STEPS[args.task],
            seed=args.seed,
            save_every=args.save_every,
            hidden_shards=args.hidden_shards,
            console=console() if first else None,
        )
    except BaseException as error:
        if jax.process_count() > 1:  # leaving in order would wait for the others, and they for this
            show_error(error)
            os._exit(FAILED)
        raise
    if first:
        for line in outcome.report.splitlines():
            say(line)
        earlier = f", {outcome.resumed} of an earlier run" if outcome.resumed else ""
        steps = f"{len(outcome.rows)} steps{earlier}"
        say(f"{task.metric:<20} {outcome.metric:.4f}, held out, {steps}")
        say(f"{'learning curve':<20} {folder / 'learning_curve.png'}")
    return 0


def _join(args: argparse.Namespace) -> None:
    """Joins the processes of a run, which must come before anything else JAX does."""
    if args.distributed or args.coordinator is not None:
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {ONE_AFTER_ANOTHER}"
    if args.distributed and (args.coordinator, args.processes, args.process) != (None, None, None):
        raise ValueError("jrnn train: --distributed finds by itself what --coordinator etc. say")
    if args.coordinator is not None:
        if args.processes is None or args.process is None or ":" not in args.coordinator:
            raise ValueError(
                "jrnn train: --coordinator HOST:PORT needs --processes N and --process I"
            )
        jax.distributed.initialize(args.coordinator, args.processes, args.process)
    elif args.distributed:
        jax.distributed.initialize()
    elif args.processes is not None or args.process is not None:
        raise ValueError("jrnn train: --processes and --process need --coordinator")
