"""``jrnn stream``: a line in, a line out."""

import io
import json
import os
import signal
import subprocess
import sys
import threading
import tracemalloc
from pathlib import Path

import jax
import keras
import numpy as np
import pytest
from keras import layers

import jrnn
from jrnn.cli import main
from tests.test_cli import DATA, SUNSPOTS, fails, said

LSTM = DATA / "keras-2.2.4/lstm_last.h5"  # [B, T, 3] -> [B, 5]
TOKENS = DATA / "keras-3.15-jax/embed_mask_lstm_dense.keras"
NAMED = DATA / "keras-3.15-jax/dict_inputs_outputs.keras"
TWO = DATA / "keras-3.0.5-jax/merge_masked.h5"
ROOT = Path(jrnn.__file__).parents[1]


@pytest.fixture
def type_in(monkeypatch):
    """Puts text on standard input."""

    def given(text: str | bytes) -> None:
        data = text.encode() if isinstance(text, str) else text
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))

    return given


def streamed(capsys, path, *options) -> np.ndarray:
    assert main(["stream", str(path), "--no-isolation", *map(str, options)]) == 0
    return np.array([line.split(",") for line in said(capsys).splitlines()], np.float32)


def beginnings(path, xs: np.ndarray) -> np.ndarray:
    """What the whole model puts out for the first steps, one more each time."""
    model, params = jrnn.load_keras(path)
    apply = jax.jit(model.apply)
    return np.concatenate([apply(params, xs[None, : t + 1]) for t in range(len(xs))])


def lines(xs) -> str:
    return "".join(",".join(map(str, np.atleast_1d(x))) + "\n" for x in xs)


def test_answers_each_line(type_in, capsys):
    xs = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
    text = lines(xs).splitlines()
    text[1] = text[1].replace(",", "\t")
    text[2] = "\n# a comment\n  " + text[2].replace(",", " , ") + "\r"
    text[3] = text[3].replace(",", "  ")
    type_in("\ufeff" + "\n".join(text))  # and no newline at the end
    np.testing.assert_allclose(streamed(capsys, LSTM), beginnings(LSTM, xs), rtol=1e-5, atol=1e-6)


def test_json_holds_the_same_numbers(type_in, capsys):
    type_in("1,2,3\nnan,0,0\n")
    plain = streamed(capsys, LSTM)
    type_in("1,2,3\nnan,0,0\n")
    assert main(["stream", str(LSTM), "--no-isolation", "--format", "json"]) == 0
    first, second = map(json.loads, said(capsys).splitlines())
    np.testing.assert_array_equal(np.array(first, np.float32), plain[0])  # digit for digit
    assert np.isnan(plain[1]).all()
    assert second == [None] * len(first)


def test_inputs_follow_one_another(type_in, capsys):
    model, params = jrnn.load_keras(TWO)
    xs = np.random.default_rng(0).standard_normal((2, 1, 1, 3)).astype(np.float32)
    type_in(lines(xs.reshape(1, 6)))
    wanted = np.concatenate([np.ravel(y) for y in jax.tree.leaves(model.apply(params, *xs))])
    np.testing.assert_allclose(streamed(capsys, TWO)[0], wanted, rtol=1e-5, atol=1e-6)


def test_outputs_have_their_names(type_in, capsys):
    model, params = jrnn.load_keras(NAMED)
    x = np.random.default_rng(0).standard_normal((1, 3)).astype(np.float32)
    type_in(lines(x))
    assert main(["stream", str(NAMED), "--no-isolation", "--format", "json"]) == 0
    answer, wanted = json.loads(said(capsys)), model.apply(params, x[:, None])
    assert set(answer) == set(wanted)
    for name, y in answer.items():
        np.testing.assert_allclose(y, np.ravel(wanted[name]), rtol=1e-5, atol=1e-6)


def test_goes_on_from_a_state(type_in, capsys, tmp_path):
    tokens = np.array([3, 0, 5])
    type_in(lines(tokens))
    whole = streamed(capsys, TOKENS)
    np.testing.assert_allclose(whole, beginnings(TOKENS, tokens), rtol=1e-5, atol=1e-6)
    state, answers = tmp_path / "state.npz", []
    for part in (tokens[:1], tokens[1:1], tokens[1:]):
        type_in(lines(part))
        answers.extend(streamed(capsys, TOKENS, "--state", state))
    np.testing.assert_array_equal(answers, whole)
    assert list(tmp_path.iterdir()) == [state]
    type_in("1,2,3\n")
    assert "expected this model's state, arrays lstm" in fails(
        capsys, "stream", LSTM, "--state", state
    )


def test_a_state_of_16_bits_goes_on_as_it_was(type_in, capsys, tmp_path):
    path, state = tmp_path / "model.keras", tmp_path / "state.npz"
    keras.Sequential([keras.Input((None, 3)), layers.GRU(4, dtype="mixed_bfloat16")]).save(path)
    argv = ["stream", str(path), "--no-isolation", "--state", str(state)]
    xs = np.random.default_rng(0).standard_normal((3, 3)).astype(np.float32)
    type_in(lines(xs))
    assert main(argv[:-2]) == 0
    whole, answers = said(capsys), ""
    for part in (xs[:2], xs[2:]):
        type_in(lines(part))
        assert main(argv) == 0
        out, err = capsys.readouterr()
        answers += out
        assert err == ""  # as float32 the numbers are the same
    assert answers == whole


def test_a_state_of_another_byte_order_and_a_bomb(type_in, capsys, tmp_path):
    type_in("1,2,3\n")
    streamed(capsys, LSTM, "--state", tmp_path / "first.npz")
    with np.load(tmp_path / "first.npz") as archive:
        arrays = dict(archive)
    answers = []
    for order in "<>":
        path = tmp_path / f"{ord(order)}.npz"
        np.savez(path, **{name: array.astype(f"{order}f4") for name, array in arrays.items()})
        type_in("4,5,6\n")
        answers.append(streamed(capsys, LSTM, "--state", path))
    np.testing.assert_array_equal(*answers)

    bomb = tmp_path / "bomb.npz"  # small in the file
    np.savez_compressed(bomb, **dict.fromkeys(arrays, np.zeros(1 << 25, np.float32)))
    tracemalloc.start()
    try:
        error = fails(capsys, "stream", LSTM, "--no-isolation", "--state", bomb)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert "found (33554432,) float32" in error
    assert peak < 1 << 25


def test_a_bad_line_ends_it_and_leaves_the_state_before(type_in, capsys, tmp_path):
    state = tmp_path / "state.npz"
    argv = ["stream", str(LSTM), "--no-isolation", "--state", str(state)]
    type_in("1,2,3\n1,2\n")
    assert main(argv) == 2
    out, err = capsys.readouterr()
    assert out.count("\n") == 1
    assert err == "jrnn: error: line 2: expected 3 numbers, found 2: '1,2'\n"
    type_in("4,5,6\n")
    resumed = streamed(capsys, LSTM, "--state", state)
    wanted = beginnings(LSTM, np.array([[1, 2, 3], [4, 5, 6]], np.float32))
    np.testing.assert_allclose(resumed[0], wanted[1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("path", "text", "told"),
    [
        (LSTM, "a,b,c\n", "line 1: expected a number of float32, found 'a'"),
        (LSTM, "\n\n1,,3\n", "line 3: expected a number of float32, found ''"),
        (LSTM, "1_0,1,1\n", "found '1_0'"),
        (LSTM, "1e39,1,1\n", "found '1e39'"),
        (LSTM, b"\xff,1,1\n", "found '"),
        (LSTM, "1,2,3,4\n", "line 1: expected 3 numbers, found 4"),
        (LSTM, "1" * 70000, "line 1: expected at most 65536 bytes, found more"),
        (TOKENS, "1.5\n", "expected an integer from 0 to"),
        (TOKENS, "-1\n", "expected an integer from 0 to"),
        (TOKENS, "99999999999999999999\n", "expected an integer from 0 to"),
        (SUNSPOTS, "1\n", "layer 'both_ways' (Bidirectional) is bidirectional"),
    ],
)
def test_errors_name_the_line(path, text, told, type_in, capsys):
    type_in(text)
    assert told in fails(capsys, "stream", path, "--no-isolation")


def test_answers_before_the_next_line_comes_and_stops_when_nobody_reads():
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "jrnn", "stream", str(LSTM), "--no-isolation"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=environment) as one:
        assert one.stdin is not None
        assert one.stdout is not None
        assert one.stderr is not None
        for _ in range(2):
            one.stdin.write(b"1,2,3\n")
            one.stdin.flush()
            assert one.stdout.readline().count(b",") == 4
        one.stdout.close()
        one.stdin.write(b"1,2,3\n")
        one.stdin.close()
        assert one.wait(60) == 141
        assert one.stderr.read() == b""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_request_to_end_waits_for_the_answer(type_in, capsys, tmp_path, monkeypatch, number):
    """The state kept is that after the last answer given."""
    type_in("1,2,3\n")
    streamed(capsys, LSTM, "--state", tmp_path / "wanted.npz")

    class Output(io.StringIO):
        def flush(self):
            os.kill(os.getpid(), number)
            self.flush = lambda: None

    type_in("1,2,3\n4,5,6\n")
    monkeypatch.setattr(sys, "stdout", Output())
    found = tmp_path / "found.npz"
    assert main(["stream", str(LSTM), "--no-isolation", "--state", str(found)]) != 0
    assert sys.stdout.getvalue().count("\n") == 1
    with np.load(tmp_path / "wanted.npz") as one, np.load(found) as other:
        assert {name: one[name].tolist() for name in one.files} == {
            name: other[name].tolist() for name in other.files
        }


@pytest.mark.parametrize("place", ["jrnn.cli.stream.save_npz", "os.replace"])
@pytest.mark.parametrize("times", [1, 2])
def test_a_request_to_end_waits_for_the_state(type_in, capsys, tmp_path, monkeypatch, place, times):
    """A second one does not."""
    type_in("1,2,3\n")
    streamed(capsys, LSTM, "--state", tmp_path / "wanted.npz")
    module, name = place.rsplit(".", 1)
    function = getattr(sys.modules[module], name)

    def interrupted(*args):
        for _ in range(times):
            os.kill(os.getpid(), signal.SIGINT)
        function(*args)

    type_in("1,2,3\n")
    monkeypatch.setattr(sys.modules[module], name, interrupted)
    found = tmp_path / "found.npz"
    assert main(["stream", str(LSTM), "--no-isolation", "--state", str(found)]) == 2
    out, err = capsys.readouterr()
    assert out.count("\n") == 1
    assert "interrupted" in err
    assert found.exists() == (times == 1)
    assert len(list(tmp_path.iterdir())) == (2 if times == 1 else 1)
    if times == 1:
        with np.load(tmp_path / "wanted.npz") as one, np.load(found) as other:
            for array in one.files:
                np.testing.assert_array_equal(one[array], other[array])


def test_in_another_thread(type_in, capsys):
    """Where no handler of a signal can be set."""
    type_in("1,2,3\n")
    answers = []
    thread = threading.Thread(target=lambda: answers.append(streamed(capsys, LSTM)))
    thread.start()
    thread.join()
    wanted = beginnings(LSTM, np.array([[1, 2, 3]], np.float32))
    np.testing.assert_allclose(answers[0], wanted, rtol=1e-5, atol=1e-6)


def test_a_request_to_end_keeps_the_state(tmp_path):
    """Also beside a file that a killed process of the same number left."""
    state = tmp_path / "state.npz"
    argv = [sys.executable, "-u", "-m", "jrnn", "stream", str(LSTM), "--no-isolation"]
    with subprocess.Popen(
        [*argv, "--state", str(state)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        (tmp_path / f".state.npz.{process.pid}.tmp").touch()
        process.stdin.write("1,2,3\n")
        process.stdin.flush()
        assert process.stdout.readline()
        process.terminate()
        assert process.wait(60) != 0
    with np.load(state) as arrays:
        assert any(np.abs(arrays[name]).max() > 0 for name in arrays.files)
