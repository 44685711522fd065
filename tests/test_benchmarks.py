"""The benchmarks themselves: what they record, that they resume, that no peer goes unchecked."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from benchmarks.cases import CELLS, GRID, LAYOUTS, MODES, Case, Shape, grid
from benchmarks.data import draw, flat, worst_error
from benchmarks.growth import write_report as write_growth
from benchmarks.peers import ENTRIES, PARTNERS, load, partner
from benchmarks.peers.base import UnsupportedError
from benchmarks.report import write_report

ROOT = Path(__file__).parent.parent
SHAPE = "5x2x3x4"
MINE = """
import dataclasses, os
from benchmarks.peers.naive_scan import Naive

class Wrong(Naive):
    def prepare(self, case, data):
        prepared = super().prepare(case, data)
        def results():
            found = prepared.results()
            return found | {"outputs": found["outputs"] * 1.001}
        return dataclasses.replace(prepared, results=results)

class Crash(Naive):
    def prepare(self, case, data):
        prepared = super().prepare(case, data)
        calls = []
        def call():
            calls.append(prepared.call())
            if len(calls) == 3:
                os._exit(7)
        return dataclasses.replace(prepared, call=call)
"""


def benchmarks(*arguments, folder):
    """Runs the command line; peers of the test's own lie in the folder."""
    command = [sys.executable, "-m", "benchmarks", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A results file of two cases, with peers that are wrong, crash or are not there."""
    folder = tmp_path_factory.mktemp("benchmarks")
    (folder / "mine.py").write_text(MINE)
    path = folder / "results" / "tiny.json"
    benchmarks(*run_arguments(path), folder=folder)
    return path


def run_arguments(path):
    options = ["--cells", "lstm", "--shapes", SHAPE, "--rounds", 1, "--min-time", 0.001]
    peers = "jrnn,naive,torch_cudnn,mine:Wrong,mine:Crash,absent.module:Peer"
    return ["run", "--out", path, "--peers", peers, *options]


def test_records_every_peer(results):
    content = json.loads(results.read_text())
    assert set(content["cases"]) == {f"lstm/{mode}/plain/{SHAPE}" for mode in MODES}
    for record in content["cases"].values():
        rows = record["peers"]
        for name in ("jrnn", "naive"):
            assert rows[name]["status"] == "timed"
            assert rows[name]["calls"] >= 3
            assert 0 < rows[name]["best"] <= rows[name]["median"]
            assert rows[name]["error"] < 1e-5
            assert rows[name]["compile_seconds"] > 0
            assert rows[name]["temporary_bytes"] >= 0
        assert rows["jrnn"]["ratio"] == 1
        assert rows["naive"]["ratio"] == rows["naive"]["best"] / rows["jrnn"]["best"]
        assert rows["mine:Wrong"]["status"] == "wrong"
        assert "best" not in rows["mine:Wrong"]
        assert rows["mine:Crash"]["status"] == "failed"
        assert "(7)" in rows["mine:Crash"]["reason"]
        assert rows["torch_cudnn"]["reason"] == "runs on a GPU only"
        assert rows["absent.module:Peer"]["status"] == "not installed"
        assert record["matmul"]["xla"] > 0
    assert {"jax", "jaxlib", "python"} <= set(content["runs"][0]["versions"])


def test_resumes(results):
    before = results.read_text()
    said = benchmarks(*run_arguments(results), folder=results.parent.parent)
    assert "0 cases to run" in said
    assert results.read_text() == before


def test_report(results):
    files = write_report(results)
    report = results.with_suffix(".md").read_text()
    assert "(5, 2, 3, 4)" in report
    assert "| mine:Wrong | wrong |" in report
    assert all(path.exists() for path in files)
    assert "16384" not in write_growth(results).read_text()


def test_grid():
    cases = grid(CELLS, MODES, LAYOUTS, GRID)
    assert len({case.key for case in cases}) == len(cases) == 2 * 4 * (4 * 8 + 4)
    assert all(Case.parse(case.key) == case for case in cases)
    lstm = Case("lstm", "forward", "plain", Shape(5, 2, 3, 4))
    assert lstm.flops == 2 * 5 * 2 * 16 * (3 + 4)
    sru = Case("sru", "gradient", "plain", Shape(5, 2, 3, 4))
    assert sru.flops == 3 * 2 * 5 * 2 * 16 * 3
    assert CELLS["sru"].step_product(sru.shape) == (2, 3, 16)
    conv_lstm = Case("conv_lstm2d", "forward", "plain", Shape(5, 2, 3, 4, 7, 6, 3))
    assert conv_lstm.flops == 2 * 5 * 2 * (7 * 6) * (3 * 3) * 16 * (3 + 4)
    with pytest.raises(ValueError, match="TxBxFxU"):
        Shape.parse("1x2x3")


def test_partner():
    assert partner("torch", "gru") == "jrnn"
    assert partner("haiku", "lstm") == "jrnn"
    assert partner("haiku", "gru") == "jrnn_reset_before"
    assert partner("haiku", "simple_rnn") == "jrnn_relu"


def test_worst_error():
    expected = {"outputs": np.array([[[1.0]], [[-2.0]]]), "hidden/0": np.ones(1)}
    assert worst_error(expected, expected, None)[0] == 0
    off = {**expected, "outputs": expected["outputs"] + [[[0.0]], [[0.2]]]}
    assert worst_error(off, expected, None) == (pytest.approx(0.1), "outputs")
    assert worst_error(off, expected, np.array([1]))[0] == 0  # only the padding is off
    for bad in (np.full((2, 1, 1), np.nan), np.ones((2, 1)), None):
        assert worst_error({**expected, "outputs": bad}, expected, None)[0] == np.inf


HERE = [
    (name, cell)
    for name, entry in ENTRIES.items()
    for cell in entry.only or CELLS
    if "cpu" in entry.devices
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "cell"), HERE)
def test_peer_computes_the_function(name, cell):
    entry = ENTRIES[name]
    pytest.importorskip(entry.place.partition(":")[0])
    for case in grid([cell], MODES, LAYOUTS, [Shape(6, 3, 4, 5), Shape(4, 3, 2, 5, 5, 7, 3)]):
        data = draw(case, entry.variant(cell))
        try:
            found = load(name).prepare(case, data).results()
        except UnsupportedError:
            continue
        assert worst_error(found, reference(case, data), data.lengths)[0] < 1e-5, case.key


def reference(case, data):
    from benchmarks.reference import reference

    with jax.enable_x64(True):
        return reference(case, data)


def test_partners_are_peers():
    assert set(PARTNERS.values()) <= set(ENTRIES)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("mode", MODES)
def test_cudnn_weights(mode, layout, monkeypatch):
    """The peer that needs a GPU, run on JAX's own stand-in for the cuDNN call."""
    from jax.experimental import rnn

    from benchmarks.peers import jax_cudnn

    def lstm(xs, h, c, weights, lengths, input_size, hidden_size, num_layers, dropout, **options):
        sizes = (input_size, hidden_size, num_layers)
        unpacked = rnn.unpack_lstm_weights(weights, *sizes, options["bidirectional"])
        return rnn.lstm_ref(xs, h, c, *unpacked, lengths, *sizes, dropout, options["bidirectional"])

    monkeypatch.setattr(jax_cudnn.rnn, "lstm", lstm)
    monkeypatch.setattr(jax_cudnn, "finds_gpu", lambda: True)
    case = Case("lstm", mode, layout, Shape(6, 3, 4, 5))
    data = draw(case, "standard")
    found = jax_cudnn.JaxCudnn().prepare(case, data).results()
    assert worst_error(found, reference(case, data), data.lengths)[0] < 1e-5


def test_cudnn_flat_array_comes_back():
    from benchmarks.peers.jax_cudnn import to_flat, to_layers

    data = draw(Case("lstm", "forward", "two_layers", Shape(6, 3, 4, 5)), "standard")
    back = to_layers(to_flat(data.layers), data.layers)
    for (name, array), (_, original) in zip(flat(back), flat(data.layers), strict=True):
        np.testing.assert_array_equal(array, original, err_msg=name)
