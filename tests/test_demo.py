"""The demo and the bundled model behind it."""

import builtins
import dataclasses
import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

import jrnn
from jrnn import demo

DATA = Path(jrnn.__file__).parent / "data"
FILES = ("sunspots.keras", "sunspots.h5", "sunspots.npz")


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    pytest.importorskip("matplotlib")
    text = io.StringIO()
    out = tmp_path_factory.mktemp("demo") / "picture.png"
    return demo.run_demo(out, console=Console(file=text, width=60)), text.getvalue()


def test_report_says_what_was_measured(ran):
    report, text = ran
    assert 0 <= report.max_difference_keras <= demo.TOLERANCE
    assert 0 <= report.max_difference_h5 <= demo.TOLERANCE
    assert 0 < report.rmse < 0.8 * report.rmse_baseline
    assert 0 < report.milliseconds < report.compile_milliseconds
    assert [line.split()[0] for line in text.splitlines()] == [
        *FILES[:2],
        "forecast",
        "speed",
        "first",
        "picture",
    ]
    with pytest.raises(dataclasses.FrozenInstanceError):
        report.rmse = 0.0


def test_picture_is_drawn(ran):
    image = pytest.importorskip("matplotlib.image").imread(ran[0].picture)
    height, width, _ = image.shape
    assert width > 1000
    assert height > 500
    ink = (image[..., :3].min(axis=-1) < 0.9).mean()
    assert 0.02 < ink < 0.5


def test_missing_matplotlib_is_said_before_any_work(monkeypatch, tmp_path):
    real_import = builtins.__import__

    def no_matplotlib(name, *args, **kwargs):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", no_matplotlib)
    with pytest.raises(ValueError, match=r"needs matplotlib: pip install 'jrnn\[demo\]'"):
        demo.run_demo(tmp_path / "none.png")


@pytest.mark.parametrize("wrong", [2e-5, float("nan")])
def test_a_different_output_fails_loudly(monkeypatch, tmp_path, wrong):
    pytest.importorskip("matplotlib")
    recorded = demo._recorded()
    shifted = recorded._replace(y0=recorded.y0 + np.float32(wrong))
    monkeypatch.setattr(demo, "_recorded", lambda: shifted)
    with pytest.raises(RuntimeError, match=r"sunspots\.keras: output is .* from Keras's"):
        demo.run_demo(tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()


def test_a_different_shape_fails_even_where_it_would_broadcast():
    with pytest.raises(RuntimeError, match="shape"):
        demo._difference("file", np.zeros((1, 3)), np.zeros((5, 3)))


@pytest.mark.parametrize("name", FILES[:2])
def test_recorded_outputs_are_those_of_keras(name):
    """Weights are float32 and another build may sum in another order: a few ulps of room."""
    keras = pytest.importorskip("keras")
    recorded = demo._recorded()
    model = keras.saving.load_model(DATA / name, compile=False)
    y = keras.ops.convert_to_numpy(model(recorded.x0, training=False))
    np.testing.assert_allclose(y, recorded.y0, rtol=0, atol=2e-6)


def test_windows_are_the_record_before_each_forecast():
    """No year that is forecast stands in the input, and the scale is that of training years."""
    recorded = demo._recorded()
    past = recorded.start[:, None] + np.arange(-recorded.x0.shape[1], 0)
    np.testing.assert_allclose(
        recorded.to_counts(recorded.x0[..., 0]), recorded.truth[past], atol=1e-3
    )
    assert recorded.years[recorded.ahead].min() == 1954
    assert recorded.years[recorded.ahead].max() == 2008
    root = np.sqrt(recorded.truth[recorded.years <= 1919])
    np.testing.assert_allclose(recorded.scale, [root.mean(), root.std()], rtol=1e-5)


def test_forecast_beats_every_simple_one():
    recorded = demo._recorded()
    simple = {
        "last cycle": recorded.truth[recorded.ahead - demo.CYCLE],
        "last value": recorded.truth[recorded.start - 1][:, None],
        "mean": recorded.truth[recorded.years <= 1919].mean(),
    }
    best = min(recorded.rmse(forecast) for forecast in simple.values())
    assert recorded.rmse(recorded.to_counts(recorded.y0)) < 0.8 * best


def test_bundled_files_are_small():
    assert sum((DATA / name).stat().st_size for name in FILES) < 300_000
