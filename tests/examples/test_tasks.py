"""Each task: its data, what it learns, what it says; `jrnn train` around it."""

import math
from collections import Counter

import jax
import numpy as np
import pytest
from flax import nnx

from jrnn import cli
from jrnn.examples.characters import Characters
from jrnn.examples.digits import Digits
from jrnn.examples.forecast import HISTORY, HORIZON, SCALE, Forecast
from jrnn.examples.task import shuffled_rows
from jrnn.examples.training import train

TASKS = [Characters(units=8, batch_size=4), Digits(), Forecast()]


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_batches_depend_on_seed_and_step_alone(task):
    one, same = task.batch(3, 5), type(task)(batch_size=task.batch_size).batch(3, 5)
    for array, again in zip(one, same, strict=True):
        np.testing.assert_array_equal(array, again)
        assert len(array) == task.batch_size
    for seed, step in ((3, 6), (4, 5)):
        assert (task.batch(seed, step)[0] != one[0]).any()


def test_every_epoch_takes_each_row_once():
    rows = [shuffled_rows(10, 3, 0, step) for step in range(1, 7)]
    first, second = np.concatenate(rows[:3]), np.concatenate(rows[3:])
    assert len(set(first)) == len(set(second)) == 9
    assert (first != second).any()
    with pytest.raises(ValueError, match="batch size 11, but 1 to 10 rows"):
        shuffled_rows(10, 11, 0, 1)


def test_text_held_out_is_never_trained_on(tmp_path):
    text = "".join(chr(0x4E00 + number) for number in range(1000))  # each character once
    path = tmp_path / "text"
    path.write_text(text, "utf-8")
    task = Characters(text=str(path), length=20, batch_size=4)
    now, following = task.held_out()
    assert now.shape == following.shape == (4, 20)
    held = set(now.ravel()) | set(following.ravel())
    assert len(held) == 81
    seen = set()
    for step in range(200):
        now, following = task.batch(0, step)
        np.testing.assert_array_equal(now[:, 1:], following[:, :-1])
        seen |= set(now.ravel()) | set(following.ravel())
    assert len(seen) > 880
    assert max(seen) == 899
    assert not seen & held


def test_digits_and_series_held_out_are_never_trained_on():
    digits, forecast = Digits(), Forecast()
    trained, held = ({image.tobytes() for image in part[0]} for part in digits._parts)
    assert len(trained) + len(held) == 1797
    assert not trained & held
    before, after = forecast._windows
    assert not set(before[:, -HORIZON:].ravel()) & set(after[-HORIZON:, -HORIZON:].ravel())
    past, ahead = forecast._prepared(before)
    assert np.isnan(before).any()
    assert not np.isnan(past).any()
    np.testing.assert_array_equal(past[..., 1] == 0, np.isnan(before[:, :HISTORY]))
    last = before[:, HISTORY - 1, None]
    np.testing.assert_allclose(ahead * SCALE + last, before[:, HISTORY:], rtol=1e-6)


def test_missing_weeks_do_not_reach_the_gradient():
    task = Forecast(units=4)
    windows = task._windows[0]
    gap = windows[np.isnan(windows[:, HISTORY:]).any(1)][:5]
    loss, gradients = nnx.value_and_grad(task.loss)(task.model(nnx.Rngs(0)), task._prepared(gap))
    assert all(np.isfinite(leaf).all() for leaf in [loss, *jax.tree.leaves(gradients)])


def test_characters_learn(tmp_path):
    task = Characters(units=32, batch_size=16, learning_rate=2e-2)
    outcome = train(task, tmp_path, steps=120, measure_every=120)
    counts = Counter(task._text)
    entropy = -sum(n / len(task._text) * math.log2(n / len(task._text)) for n in counts.values())
    assert outcome.metric < 0.85 * entropy  # better than the frequency of each character
    begins = "The model writes:\n" + task._text[task._cut :][:6]
    assert outcome.report.startswith(begins)
    assert len(outcome.report) == len(begins) + 300


def test_digits_learn(tmp_path):
    outcome = train(Digits(), tmp_path, steps=150, measure_every=150)
    assert outcome.metric > 0.9
    assert "of 449 held-out digits are misread; most often: " in outcome.report


@pytest.mark.slow
def test_forecast_learns(tmp_path):
    outcome = train(Forecast(units=32), tmp_path, steps=250, measure_every=50)
    assert outcome.metric < 0.85  # what repeating last year, and its growth, has
    assert "last year's weeks and its growth: 0.850 ppm" in outcome.report


def test_writing_needs_known_characters():
    task = Characters(units=4)
    model = task.model(nnx.Rngs(0))
    assert len(task.write(model, "The", 5, jax.random.key(1))) == 8
    for begin in ("", "é"):
        with pytest.raises(ValueError, match="is not written in"):
            task.write(model, begin, 3, jax.random.key(0))


def test_command(tmp_path, capsys):
    arguments = ["train", "digits", "--steps", "3", "--units", "4", "--output", str(tmp_path)]
    assert cli.main(arguments) == 0
    said = capsys.readouterr().out
    assert "step 3 " in said
    assert "held out, 3 steps" in said
    assert cli.main([*arguments[:3], "5", *arguments[4:]]) == 0
    assert "held out, 5 steps, 3 of an earlier run" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["digits", "--text", "a.txt"], "digits: has no --text"),
        (["characters", "--text", "nowhere.txt"], "'nowhere.txt': No such file"),
        (["digits", "--process", "0"], "--processes and --process need --coordinator"),
        (["digits", "--coordinator", "a:1", "--processes", "2"], "needs --processes N and"),
        (["digits", "--coordinator", "a", "--processes", "1", "--process", "0"], "HOST:PORT needs"),
        (["digits", "--batch-size", "5000"], "batch size 5000, but 1 to 1348 rows"),
        (["digits", "--hidden-shards", "7"], "devices cannot be split into 7"),
        (["letters"], "invalid choice: 'letters'"),
    ],
)
def test_command_refuses(arguments, message, tmp_path, capsys):
    assert cli.main(["train", *arguments, "--output", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err


def test_text_without_the_characters_of_the_bundled_one(tmp_path):
    path = tmp_path / "text"
    path.write_text("\u4e00\u4e8c\n" * 200, "utf-8")
    task = Characters(text=str(path), length=20, units=4, batch_size=4)
    assert len(task.report(task.model(nnx.Rngs(0)))) == len("The model writes:\n") + 306


def test_text_that_is_not_utf8_is_named(tmp_path):
    path = tmp_path / "text"
    path.write_bytes(b"\xff" * 9000)
    with pytest.raises(ValueError, match=r"text' is not UTF-8 text: "):
        Characters(text=str(path))


def test_short_text_is_refused(tmp_path, capsys):
    (tmp_path / "short.txt").write_text("abc" * 100)
    arguments = ["train", "characters", "--text", str(tmp_path / "short.txt")]
    assert cli.main([*arguments, "--output", str(tmp_path / "run")]) == 2
    assert "the text has 300 characters, but excerpts of 100 need 2020" in capsys.readouterr().err
