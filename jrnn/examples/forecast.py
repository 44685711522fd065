"""Carbon dioxide in the air, week by week: the next half year, from two years with gaps."""

import dataclasses
from functools import cached_property
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from jrnn.examples.devices import SPLIT
from jrnn.examples.task import Batch, shuffled_rows
from jrnn.flax_wrappers import nnx as jnn

HISTORY, HORIZON, YEAR = 104, 26, 52  # weeks
LAST_TRAINING_YEAR = 1989
SCALE = 4.0  # ppm: about what the seasons do


class ForecastModel(nnx.Module):
    """An LSTM over the past, its last output to all weeks ahead; [B, T, 2] to [B, HORIZON]."""

    def __init__(self, units: int, *, rngs: nnx.Rngs):
        self.layer = jnn.LSTM(2, units, unit_forget_bias=True, rngs=rngs, **SPLIT)
        self.ahead = nnx.Linear(units, HORIZON, rngs=rngs)

    def __call__(self, past: jax.Array) -> jax.Array:
        """Returns changes from the last week known."""
        return self.ahead(self.layer(past)[:, -1])


@dataclasses.dataclass(frozen=True)
class Forecast:
    """Forecasts of weekly CO2 at Mauna Loa, 1958 to 2001, the weeks from 1990 on held out.

    The series comes with statsmodels (Keeling and Whorf; public domain). Weeks without a value stay
    without: the model is told so, and they are not in the loss.

    Attributes:
        units: Units of the layer.
        batch_size: Windows of a batch.
        learning_rate: Of Adam.
    """

    name: ClassVar[str] = "forecast"
    metric: ClassVar[str] = "ppm RMSE"

    units: int = 48
    batch_size: int = 64
    learning_rate: float = 3e-3

    @cached_property
    def _windows(self) -> tuple[np.ndarray, np.ndarray]:
        """Windows [N, HISTORY + HORIZON] in ppm, NaN where unknown: to train with, held out."""
        try:
            from statsmodels.datasets import co2
        except ImportError as error:
            message = "the series needs statsmodels: pip install 'jrnn[train]'"
            raise ValueError(message) from error
        frame: Any = co2.load_pandas().data
        series: np.ndarray = np.asarray(frame["co2"], np.float32)
        years: np.ndarray = np.asarray(frame.index.year)
        windows = np.lib.stride_tricks.sliding_window_view(series, HISTORY + HORIZON)
        known = ~np.isnan(windows[:, HISTORY - 1])  # the week that changes are counted from
        before = years[HISTORY + HORIZON - 1 :] <= LAST_TRAINING_YEAR
        after = years[HISTORY : len(years) - HORIZON + 1] > LAST_TRAINING_YEAR
        return windows[known & before], windows[known & after]

    def settings(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    def model(self, rngs: nnx.Rngs) -> nnx.Module:
        return ForecastModel(self.units, rngs=rngs)

    def optimizer(self) -> optax.GradientTransformation:
        return optax.chain(optax.clip_by_global_norm(1.0), optax.adam(self.learning_rate))

    def batch(self, seed: int, step: int) -> Batch:
        windows = self._windows[0]
        return self._prepared(windows[shuffled_rows(len(windows), self.batch_size, seed, step)])

    def held_out(self) -> Batch:
        return self._prepared(self._windows[1])

    def _prepared(self, windows: np.ndarray) -> Batch:
        """The past [B, HISTORY, 2] (change, whether known), the changes ahead [B, HORIZON]."""
        changes = (windows - windows[:, HISTORY - 1, None]) / SCALE
        past, ahead = np.split(changes, [HISTORY], axis=1)
        known = ~np.isnan(past)
        return np.stack([np.where(known, past, 0), known], -1).astype(np.float32), ahead

    def loss(self, model: ForecastModel, batch: Any) -> jax.Array:
        past, ahead = batch
        known = ~jnp.isnan(ahead)
        errors = jnp.where(known, model(past) - jnp.where(known, ahead, 0), 0)
        return (errors**2).sum() / known.sum()

    def measure(self, model: ForecastModel, batch: Any) -> jax.Array:
        return SCALE * jnp.sqrt(self.loss(model, batch))

    def report(self, model: ForecastModel) -> str:
        windows = self._windows[1]
        grown = windows[:, HISTORY - 1] - windows[:, HISTORY - 1 - YEAR]
        last_year = windows[:, HISTORY - YEAR : HISTORY - YEAR + HORIZON] + grown[:, None]
        baseline = np.sqrt(np.nanmean((last_year - windows[:, HISTORY:]) ** 2))
        ours = float(self.measure(model, self.held_out()))
        return (
            f"{HORIZON} weeks ahead, 1990 to 2001: RMSE {ours:.3f} ppm; "
            f"last year's weeks and its growth: {baseline:.3f} ppm"
        )
