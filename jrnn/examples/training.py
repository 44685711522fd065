"""A training run: steps, a trace, checkpoints, and going on where it stopped."""

import dataclasses
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from jrnn.demo import matplotlib_figure
from jrnn.examples.checkpoints import Checkpoints
from jrnn.examples.devices import DATA, make_mesh, place
from jrnn.examples.program import compile_task
from jrnn.examples.task import Task
from jrnn.examples.trace import Row, Trace, draw


@dataclasses.dataclass(frozen=True)
class Outcome:
    """A finished run.

    Attributes:
        rows: Of every step since the first, those of earlier parts of the run included; in other
            processes than the first, those of this part alone.
        resumed: How many steps were there already.
        metric: Of the held-out rows, after the last step.
        report: The task's own lines; none in other processes than the first.
    """

    rows: list[Row]
    resumed: int
    metric: float
    report: str


def train(
    task: Task,
    folder: str | Path,
    *,
    steps: int,
    seed: int = 0,
    save_every: int = 100,
    measure_every: int = 100,
    hidden_shards: int = 1,
    console: Console | None = None,
) -> Outcome:
    """Trains a task for ``steps`` steps in all and returns what came of it.

    The same call goes on where an earlier one was stopped, by whatever means, from the newest
    checkpoint, and computes what the earlier one would have computed, bit for bit. Another number
    of processes or devices may go on with it, too, equal but for the order of sums.

    Args:
        task: What is trained.
        folder: Gets ``checkpoints``, ``trace.csv`` and ``learning_curve.png``; all processes must
            see it.
        steps: Steps in all, those of an earlier part included.
        seed: Draws parameters, batches and dropout.
        save_every: Steps between checkpoints; the last step always has one.
        measure_every: Steps between measurements on the held-out rows; the last step always is.
        hidden_shards: Devices that share a layer's units; the others share the rows.
        console: Where progress is shown; nowhere if not given.

    Raises:
        ValueError: If the folder holds a run of other settings or of more steps, sizes do not
            divide, or a loss is not finite.
    """
    if min(steps, save_every, measure_every) < 1:
        raise ValueError("jrnn train: steps, save_every and measure_every must be 1 or more")
    matplotlib_figure()  # what is not installed is missed now, not after the last step
    held_out = task.held_out()
    folder = Path(folder)
    first = jax.process_index() == 0  # the process that writes what all of them know
    if first:
        folder.mkdir(parents=True, exist_ok=True)
    mesh = make_mesh(task, hidden_shards)
    settings = {"task": task.name, "seed": seed, **task.settings()}
    with jax.set_mesh(mesh), Checkpoints(folder / "checkpoints", settings) as checkpoints:
        program = compile_task(task, seed, mesh)
        resumed, state = checkpoints.newest(program.abstract) or (0, program.start())
        if resumed > steps:
            raise ValueError(f"jrnn train: {str(folder)!r} holds {resumed} steps, not {steps}")
        trace = Trace(folder / "trace.csv" if first else None, resumed)
        held_out = place(held_out, mesh)

        def measure(state: Any) -> float:
            return float(program.measure(state, held_out))

        metric = None
        with _progress(console if first else None, task.metric, resumed, steps) as show:
            for step in range(resumed + 1, steps + 1):
                state, loss = program.step(state, place(task.batch(seed, step), mesh, DATA))
                last = step == steps
                measured = last or step % measure_every == 0
                metric = measure(state) if measured else None
                row = Row(step, float(loss), metric)
                trace.add(row)
                show(row)
                if not math.isfinite(row.loss):  # no checkpoint of such a state
                    raise ValueError(
                        f"jrnn train: the loss of step {step} is {row.loss}; "
                        "a lower learning rate may help"
                    )
                if last or step % save_every == 0:
                    trace.keep()
                    checkpoints.save(step, state)
        if metric is None:  # all steps were there already
            metric = measure(state)
        model = program.model(state)
    if not first:
        return Outcome(trace.rows, resumed, metric, report="")
    draw(trace.rows, task.metric, f"jrnn train {task.name}", folder / "learning_curve.png")
    return Outcome(trace.rows, resumed, metric, task.report(model))


@contextmanager
def _progress(
    console: Console | None, metric: str, done: int, steps: int
) -> Iterator[Callable[[Row], None]]:
    """A bar for as long as the steps take, or lines where no bar can move; called after each."""
    bar = Progress(
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]:.3f}"),
        TextColumn("{task.fields[held_out]}", style="bold"),
        TimeRemainingColumn(),
        console=console,
        disable=console is None or not console.is_terminal,
    )
    with bar:
        task = bar.add_task("", total=steps, completed=done, loss=float("nan"), held_out="")

        def show(row: Row) -> None:
            bar.update(task, completed=row.step, loss=row.loss)
            if row.metric is not None:
                held_out = f"{row.metric:.4f} {metric}"
                bar.update(task, held_out=held_out)
                if console and bar.disable:
                    console.print(f"step {row.step:<8} loss {row.loss:.4f}  {held_out}")

        yield show
