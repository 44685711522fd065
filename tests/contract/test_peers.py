"""Other libraries do what ``peers.json``, and with it docs/contract.md, says of them.

A few places are tried again at every run, all of them with ``pytest -m ""``.
"""

import json

import jax
import pytest

from tests.contract.peers import FILE, TITLES, measured, places

pytestmark = pytest.mark.usefixtures("x64")
KNOWN = json.loads(FILE.read_text(encoding="utf-8"))["not ✓"]
STEPS = 211  # one place of so many is for every run
STEP = ", one step"


def kind_known(name: str, title: str) -> str:
    return KNOWN[name].get(title, [""])[0]


@pytest.mark.parametrize(
    "chosen",
    [places()[::STEPS], pytest.param(places(), marks=pytest.mark.slow)],
    ids=["some", "all"],
)
def test_libraries_do_what_the_page_says(chosen):
    found = {pair: result.kind for pair, result in measured(chosen).items()}
    wrong = {pair: kind for pair, kind in found.items() if kind != kind_known(*pair)}
    jax.clear_caches()
    assert wrong == {}
    assert len(found) == len(chosen)


def test_jrnn_passes_all_or_refuses():
    ours = {name: table for name, table in KNOWN.items() if name.startswith("jrnn")}
    assert set(ours) == {f"jrnn, {kind}{step}" for kind in ("LSTM", "GRU") for step in ("", STEP)}
    assert all(set(table) <= {"integers"} for table in ours.values())
    assert all(kind == "refused" for table in ours.values() for kind, _ in table.values())


def test_the_file_has_every_row_and_no_other_column():
    assert set(KNOWN) == {name for name, _ in places()}
    assert {title for table in KNOWN.values() for title in table} <= set(TITLES)
