"""The demo: a forecaster that Keras trained, run by JAX, next to what Keras itself computed.

Files made by `jrnn/data/train_sunspots.py` come with the package; Keras is not needed to run them.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

import jrnn

TOLERANCE = 1e-5  # largest difference from Keras allowed, in model units
CYCLE = 11  # years: the baseline repeats the last cycle
REPEATS = 50
BLUE, ORANGE, GREY = "#1f5fa8", "#e8731a", "#8a8a8a"


@dataclass(frozen=True)
class DemoReport:
    """What the demo measured.

    Attributes:
        max_difference_keras: largest |jrnn - Keras| with the weights of the `.keras` file.
        max_difference_h5: the same for the `.h5` file.
        rmse: of jrnn's forecasts on the held-out years, in sunspot numbers.
        rmse_baseline: of repeating the value of 11 years before.
        compile_milliseconds: first call of the jitted model, compilation included.
        milliseconds: one batch, the best of many calls.
        picture: the PNG written.
    """

    max_difference_keras: float
    max_difference_h5: float
    rmse: float
    rmse_baseline: float
    compile_milliseconds: float
    milliseconds: float
    picture: Path


class Recorded(NamedTuple):
    """The bundled numbers: N years of record, B held-out windows, H years forecast by each."""

    x0: np.ndarray  # [B, T, 1] model input
    y0: np.ndarray  # [B, H] Keras's output
    start: np.ndarray  # [B] index of the first year forecast
    years: np.ndarray  # [N]
    truth: np.ndarray  # [N] sunspot numbers
    scale: np.ndarray  # [2] mean and deviation of sqrt(truth) over the training years

    @property
    def ahead(self) -> np.ndarray:
        """Index of every year forecast, [B, H]."""
        return self.start[:, None] + np.arange(self.y0.shape[1])

    def to_counts(self, y: np.ndarray) -> np.ndarray:
        """Model units to sunspot numbers, any shape."""
        return np.maximum(y * self.scale[1] + self.scale[0], 0.0) ** 2

    def rmse(self, forecast: np.ndarray) -> float:
        """Error of a forecast [B, H] in sunspot numbers."""
        return float(np.sqrt(np.mean((forecast - self.truth[self.ahead]) ** 2)))


class Outcome(NamedTuple):
    """One model file, run on the held-out windows."""

    y: np.ndarray  # [B, H] model units
    difference: float  # from Keras, largest
    compile_milliseconds: float
    milliseconds: float


def run_demo(out: str | Path = "jrnn_demo.png", *, console: Console | None = None) -> DemoReport:
    """Returns what the bundled model's run in JAX measured, and draws its forecasts.

    The heart of it is two lines: `model, params = jrnn.load_keras(path)`, then
    `jax.jit(model.apply)(params, x)`.

    Args:
        out: where the PNG goes.
        console: where the steps are printed; standard output if not given.

    Returns:
        Differences from Keras, errors, times and the picture's path.

    Raises:
        ValueError: matplotlib is not installed, or `out` names no .png file in a folder that is.
        RuntimeError: an output is further from Keras's than 1e-5.
    """
    if Path(out).suffix != ".png" or not Path(out).parent.is_dir():
        raise ValueError(f"{str(out)!r}: a .png file in a folder that exists is needed")
    console = console or Console()
    figure_class = matplotlib_figure()
    recorded = _recorded()
    outcomes = {name: _run_file(name, recorded) for name in ("sunspots.keras", "sunspots.h5")}
    for name, outcome in outcomes.items():
        text = f"{name:<15} max |jrnn - Keras| = {outcome.difference:.1e}"
        console.print(text, markup=False, highlight=False)

    best = outcomes["sunspots.keras"]
    forecast = recorded.to_counts(best.y)
    report = DemoReport(
        max_difference_keras=best.difference,
        max_difference_h5=outcomes["sunspots.h5"].difference,
        rmse=recorded.rmse(forecast),
        rmse_baseline=recorded.rmse(recorded.truth[recorded.ahead - CYCLE]),
        compile_milliseconds=best.compile_milliseconds,
        milliseconds=best.milliseconds,
        picture=Path(out),
    )
    _draw(figure_class(figsize=(11, 5.6), layout="constrained"), recorded, forecast, report)

    _print_report(console, report, len(forecast))
    return report


def _print_report(console: Console, report: DemoReport, windows: int) -> None:
    lines = {
        "forecast": f"RMSE {report.rmse:.1f}, repeating the last cycle {report.rmse_baseline:.1f}",
        "speed": f"{report.milliseconds:.2f} ms for {windows} windows on {jax.default_backend()}",
        "first call": f"{report.compile_milliseconds:.0f} ms, compiling included",
        "picture": str(report.picture),
    }
    for name, text in lines.items():
        console.print(f"{name:<15} {text}", markup=False, highlight=False, soft_wrap=True)


def _recorded() -> Recorded:
    path = resources.files("jrnn") / "data" / "sunspots.npz"
    with path.open("rb") as file, np.load(file) as arrays:
        return Recorded(**{name: arrays[name] for name in Recorded._fields})


def _run_file(name: str, recorded: Recorded) -> Outcome:
    """Loads one bundled model, runs it, holds it to Keras's numbers, and times it."""
    with resources.as_file(resources.files("jrnn") / "data" / name) as path:
        model, params = jrnn.load_keras(path)
    x = jnp.asarray(recorded.x0)
    # Accelerators multiply float32 in fewer bits unless told otherwise; Keras ran on a CPU.
    with jax.default_matmul_precision("highest"):
        y, first, best = _timed(jax.jit(model.apply), params, x)
    return Outcome(y, _difference(name, y, recorded.y0), first, best)


def _timed(apply: Callable[..., Any], *args: Any) -> tuple[np.ndarray, float, float]:
    """The output, then milliseconds of the first call and of the best of the later ones."""

    def call() -> tuple[Any, float]:
        begin = time.perf_counter()
        y = jax.block_until_ready(apply(*args))
        return y, 1e3 * (time.perf_counter() - begin)

    y, first = call()
    return np.asarray(y), first, min(call()[1] for _ in range(REPEATS))


def _difference(name: str, y: np.ndarray, expected: np.ndarray) -> float:
    if y.shape != expected.shape:
        raise RuntimeError(f"{name}: output has shape {y.shape}, Keras's has {expected.shape}")
    difference = float(np.max(np.abs(y - expected)))
    if not difference <= TOLERANCE:  # so that NaN fails too
        raise RuntimeError(
            f"{name}: output is {difference:.1e} from Keras's, expected at most {TOLERANCE:.0e};"
            " please report this with the versions of jrnn and jax"
        )
    return difference


def matplotlib_figure() -> type:
    """A bare Figure draws with Agg and never opens a window, unlike one made by pyplot."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        message = "the picture needs matplotlib: pip install 'jrnn[demo]'"
        raise ValueError(message) from error
    return Figure


def _draw(figure: Any, recorded: Recorded, forecast: np.ndarray, report: DemoReport) -> None:
    """Writes the picture: every forecast over the record, and the error by years ahead."""
    record, errors = figure.subplots(1, 2, width_ratios=[3.6, 1])
    difference = max(report.max_difference_keras, report.max_difference_h5)
    figure.suptitle(
        f"Sunspots, forecast 1 to {forecast.shape[1]} years ahead: RMSE {report.rmse:.1f}"
        f" (repeating the last cycle: {report.rmse_baseline:.1f})\n"
        f"one model file, run by jrnn and by Keras: outputs differ by at most {difference:.1e}",
        fontsize=13,
    )
    _draw_record(record, recorded, forecast)
    _draw_errors(errors, recorded, forecast)
    for axes in (record, errors):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color="#e6e6e6", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.set_ylim(bottom=0)
    figure.savefig(report.picture, dpi=130, format="png")


def _draw_record(axes: Any, recorded: Recorded, forecast: np.ndarray) -> None:
    first = int(recorded.start[0])
    shown = slice(first - 3 * CYCLE, None)
    years, truth = recorded.years, recorded.truth
    steps = forecast.shape[1]
    keras_forecast = recorded.to_counts(recorded.y0)
    axes.axvspan(years[first] - 0.5, years[-1] + 0.5, color="#f5f1e8", zorder=0)
    axes.plot(years[shown], truth[shown], color=GREY, linewidth=1.6, label="observed")
    for row in range(0, len(forecast), steps):  # back to back: each year is forecast once
        when = years[recorded.ahead[row]]
        label = "jrnn" if row == 0 else None
        axes.plot(when, forecast[row], color=BLUE, linewidth=2.4, label=label)
        label = "Keras" if row == 0 else None
        axes.plot(when, keras_forecast[row], "o", mfc="none", mec=ORANGE, ms=6, label=label)
    axes.set_xlim(years[shown][0], years[-1] + 0.5)
    in_years = axes.get_xaxis_transform()  # x in years, y as a share of the height
    axes.text(years[-1], 0.98, "held out of training", ha="right", va="top", transform=in_years)
    axes.set_xlabel("year")
    axes.set_ylabel("sunspot number (yearly mean)")
    axes.legend(loc="upper left", frameon=False)


def _draw_errors(axes: Any, recorded: Recorded, forecast: np.ndarray) -> None:
    truth = recorded.truth
    ahead = np.arange(1, forecast.shape[1] + 1)
    baselines = {
        "last value": (truth[recorded.start - 1][:, None], ":"),
        "last cycle": (truth[recorded.ahead - CYCLE], "--"),
    }
    for name, (values, style) in baselines.items():
        error = np.sqrt(np.mean((values - truth[recorded.ahead]) ** 2, axis=0))
        axes.plot(ahead, error, style, color=GREY, linewidth=1.8, label=name)
    error = np.sqrt(np.mean((forecast - truth[recorded.ahead]) ** 2, axis=0))
    axes.plot(ahead, error, "o-", color=BLUE, linewidth=2.4, label="jrnn")
    axes.set_xticks(ahead)
    axes.set_xlabel("years ahead")
    axes.set_ylabel("RMSE (sunspot number)")
    axes.legend(loc="upper left", frameon=False)
