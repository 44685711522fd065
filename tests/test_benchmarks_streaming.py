"""The benchmark of single samples: who is checked, and what is written."""

import json

import pytest

from benchmarks import streaming
from benchmarks.results import describe_run


@pytest.mark.parametrize("cell", streaming.CELLS)
def test_measures_who_is_right(cell, tmp_path):
    rows = streaming.measure(cell, 3, 4, rounds=1, seconds=0.001)
    assert {"jrnn", "jrnn, compiled ahead", "flax linen, jit", "onnxruntime"} <= set(rows)
    for row in rows.values():
        assert row["error"] < 1e-6
        assert 0 < row["best"] <= row["median"]
    assert rows["jrnn, compiled ahead"]["ratio"] == 1
    run = describe_run(rounds=1, min_time=0.001, versions={"jax": "0"})
    streaming.write(tmp_path / "s.json", run, {cell: rows})
    assert json.loads((tmp_path / "s.json").read_text())["cases"][cell] == rows
    text = (tmp_path / "s.md").read_text()
    assert all(f"| {name} | {1e6 * row['best']:.0f} |" in text for name, row in rows.items())


def test_who_is_wrong_ends_it(monkeypatch):
    def wrong(cell, data):
        answer = streaming.jrnn_stream(cell, data)
        return lambda x: answer(x) * 1.001

    monkeypatch.setitem(streaming.PEERS, "onnxruntime", wrong)
    with pytest.raises(SystemExit, match="onnxruntime: gru is off by"):
        streaming.measure("gru", 3, 4, rounds=1, seconds=0.001)
