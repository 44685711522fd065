"""The Python on the pages of docs/ runs as it stands there."""

import json
import re
import shutil
from pathlib import Path

import jax
import jax.test_util  # the page on cells checks gradients with it
import keras
import numpy as np
from keras import layers

import jrnn
from tests.docs.pages import DOCS, python_of, run_python, table

ROOT = Path(__file__).parents[2]
DATA = ROOT / "tests/data"
FAQ_FILES = {
    "trained_with_cudnn.h5": "keras-2.3.1/cudnn_lstm_gru.h5",
    "of_tf_keras.h5": "tf.keras-2.15/bidir_unroll_masked.h5",
    "weights.h5": "keras-2.3.1/embed_mask_lstm_dense_weights.h5",
    "model.json": "keras-2.3.1/embed_mask_lstm_dense.json",
}


def test_faq(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, recorded in FAQ_FILES.items():
        shutil.copy(DATA / recorded, name)
    numbers = np.load(DATA / "keras-2.3.1/cudnn_lstm_gru.npz")
    ran = run_python("faq.md", x_of_cudnn=numbers["x0"])
    for ours, theirs in zip(ran["of_cudnn"], (numbers["y0"], numbers["y1"]), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)
    config = (DATA / "tf.keras-2.15/bidir_unroll_masked.h5").read_bytes()
    assert b"time_major" in config  # what the question is about
    assert keras.saving.load_model("of_keras_3.keras").count_params() > 0


def test_faq_answers_fifteen_questions_with_their_threads():
    text = (DOCS / "faq.md").read_text("utf-8")
    answers = re.split(r"^### ", text, flags=re.MULTILINE)[1:]
    assert len(answers) >= 15
    for answer in answers:
        assert re.search(r"^Asked (in|on) \[[^\]]+\]\(https://", answer, re.MULTILINE), answer


def test_adding_a_cell():
    with jax.default_matmul_precision("highest"):
        run_python("adding_a_cell.md")


def test_equations():
    run_python("equations.md")


def test_quickstart(tmp_path):
    model = keras.Sequential([keras.Input((5, 3)), layers.LSTM(4, dropout=0.2), layers.Dense(2)])
    model.save(tmp_path / "model.keras")
    x = np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float32)
    again = tmp_path / "again.keras"
    ran = run_python("quickstart.md", path=tmp_path / "model.keras", x=x, out_path=again)
    np.testing.assert_allclose(keras.saving.load_model(again)(x), model(x), atol=1e-6)
    assert ran["ys"].shape == (4, 20, 8)


def test_streaming(tmp_path):
    model = keras.Sequential(
        [keras.Input((5, 3)), layers.Masking(), layers.LSTM(4), layers.Dense(2)]
    )
    model.save(tmp_path / "model.keras")
    x = np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float32)
    x[0, 0] = 0  # masked
    ran = run_python("streaming.md", path=tmp_path / "model.keras", x=x)
    np.testing.assert_allclose(ran["answer"], model(x), atol=1e-5)
    cases = json.loads((ROOT / "benchmarks/results/streaming.json").read_text("utf-8"))["cases"]
    shown = table("streaming.md", "Microseconds per sample")
    assert {row["peer"] for row in shown} == {name for rows in cases.values() for name in rows}
    for row in shown:
        measured = [f"{1e6 * rows[row['peer']]['best']:.0f}" for rows in cases.values()]
        ratios = [f"{rows[row['peer']]['ratio']:.2f}" for rows in cases.values()]
        assert [row["LSTM, µs"], row["GRU, µs"]] == measured
        assert [row["LSTM, ratio"], row["GRU, ratio"]] == ratios


def test_dtypes_and_memory():
    run_python("dtypes.md")
    ran = run_python("memory.md")
    assert ran["plain"].total > 5 * ran["dialled"].total
    measured = json.loads((ROOT / "benchmarks/results/memory.json").read_text("utf-8"))["results"]
    for row, shown in zip(measured, table("memory.md", "Measured"), strict=True):
        assert shown["MiB"] == f"{row['temporaries'] / 2**20:.1f}"
        assert shown["plain / this"] == f"{row['memory ratio']:.1f}"
        assert shown["time / plain"] == f"{row['time ratio']:.2f}"


def test_truncated_bptt():
    ran = run_python("truncated_bptt.md")
    assert ran["losses"][-1] < 0.5 * ran["losses"][0]


def test_home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    keras.Sequential([keras.Input((5, 3)), layers.GRU(4)]).save("model.keras")
    x = np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float32)
    run_python("index.md", x=x, xs=x, lengths=np.array([5, 2]))


def test_citation_and_contributing():
    root = DOCS.parent
    citation = (root / "CITATION.cff").read_text("utf-8")
    assert f"\nversion: {jrnn.__version__}\n" in citation
    assert len((root / "CONTRIBUTING.md").read_text("utf-8").splitlines()) <= 40


def test_every_page_with_python_is_run_by_a_test():
    pages = {page.name for page in DOCS.glob("*.md") if python_of(page.name)}
    tests = "".join(test.read_text("utf-8") for test in DOCS.parent.glob("tests/**/test_*.py"))
    run = set(re.findall(r'run_python\(\s*"([^"]+)"', tests))
    excerpts = {"hostile_files.md", "keras.md", "performance.md"}  # names without their arrays
    assert pages - excerpts == run
