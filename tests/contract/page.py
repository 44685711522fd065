"""``docs/contract.md``: what has been tried with every cell, layer and op.

``python -m tests.contract.page`` writes the page, ``test_contract.py`` checks that it is up to date
and that every entry is true.
"""

import textwrap
from collections.abc import Iterator
from pathlib import Path

from tests.contract.outcomes import Outcome, applies, outcome
from tests.contract.peers_page import peers_section
from tests.contract.reference import COLUMNS
from tests.contract.subjects import B, F, T, U, subjects

PAGE = Path(__file__).parents[2] / "docs" / "contract.md"


def main() -> None:
    """Writes the page."""
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)


def page() -> str:
    """Returns the whole page."""
    reasons: dict[Outcome, int] = {}
    tables = [line for group in COLUMNS for line in _group(group, reasons)]
    return "\n".join([*_head(), *tables, *_reasons(reasons), "", *peers_section()]) + "\n"


def _head() -> Iterator[str]:
    text = f"""Written by `python -m tests.contract.page`; do not edit. Every cell as one step,
    every layer and every op of `jrnn.nd4j`, under everything that users of JAX do to a function.
    ✓ means that outputs, and gradients where the column says so, were compared with plain calls in
    a Python loop over the steps, in which jrnn's loop has no part, in float64 within 1e-12 unless
    the column says otherwise. "refused" is an error that says what to do; a test asks for its
    words. "fails" is a defect that is known; a test fails once it is mended, so that this page
    cannot fall behind. An empty place: there is nothing to try. The arrays are small, {B} rows,
    {T} steps, {F} features and {U} units; all weights are random, biases too."""
    yield from ["# Contract grid", "", *textwrap.wrap(" ".join(text.split()), 110), ""]
    text = """Other libraries stand [at the end](#other-libraries), under the same columns."""
    yield from [*textwrap.wrap(" ".join(text.split()), 110), ""]
    text = """`pytest tests/contract` tries one of 43 places, with some of each row and
    column; `pytest -m "" tests/contract` tries them all, and `-k "hessian and GRUCell"` picks
    some."""
    yield from [*textwrap.wrap(" ".join(text.split()), 110), ""]


def _group(group: str, reasons: dict[Outcome, int]) -> Iterator[str]:
    columns = COLUMNS[group]
    yield from [f"## {group}", ""]
    for title, function in columns.items():
        yield from textwrap.wrap(f"- **{title}**: {function.__doc__}", 110, subsequent_indent="  ")
    yield from ["", f"| | {' | '.join(columns)} |", f"| --- |{' :---: |' * len(columns)}"]
    for name, subject in subjects().items():
        places = [_place(name, subject, title, reasons) for title in columns]
        yield f"| {name} | {' | '.join(places)} |"
    yield ""


def _place(name: str, subject, title: str, reasons: dict[Outcome, int]) -> str:
    if not applies(subject, title):
        return ""
    known = outcome(name, subject, title)
    if known is None:
        return "✓"
    return f"{known.kind} {reasons.setdefault(known, len(reasons) + 1)}"


def _reasons(reasons: dict[Outcome, int]) -> Iterator[str]:
    yield from ["## Where it is not ✓", ""]
    for known, number in reasons.items():
        said = f"{number}. {known.kind}: `{known.message}`; {known.why}."
        yield from textwrap.wrap(said, 110, subsequent_indent="   ")


if __name__ == "__main__":
    main()
