"""Other libraries under the columns of the contract grid, measured together with jrnn.

``python -m tests.contract.peers`` tries every place and writes ``peers.json``, of which
``docs/contract.md`` makes its tables; ``test_peers.py`` tries some of them again at every run.
"""

import fnmatch
import importlib.metadata
import json
import re
import sys
from pathlib import Path
from typing import NamedTuple

import jax

import tests.contract.outcomes  # noqa: F401 (it registers the columns)
from tests.contract.devices import on_devices
from tests.contract.outcomes import NO_INTEGERS, PADDED, applies
from tests.contract.peer_subjects import PACKAGES, peers, rows_of
from tests.contract.reference import COLUMNS, error_of
from tests.contract.subjects import F, Subject, U

FILE = Path(__file__).parent / "peers.json"
DEVICES = "Eight devices"
TITLES = {title: group for group, titles in COLUMNS.items() for title in titles}


class Found(NamedTuple):
    """What came out: an empty kind where all was right."""

    kind: str
    message: str


def found(error: str) -> Found:
    """What an error is, in a word or two, and its first words."""
    if not error:
        return Found("", "")
    name, _, message = error.partition(": ")
    message = " ".join(message.split())
    if NO_INTEGERS.message in message:
        return Found("refused", NO_INTEGERS.message)
    if name == "AssertionError":
        return Found(*wrong(message))
    return Found(name, shortened(message))


def wrong(message: str) -> tuple[str, str]:
    """Which assertion it was."""
    if message.startswith("wrong"):
        return message, ""
    if "nan location mismatch" in message:
        return "NaN", ""
    off = re.search(r"Max absolute difference among violations: ([\d.e+-]+|inf|nan)", message)
    assert off, message
    size = f"{float(off[1]):.0e}"
    return "wrong numbers", f"off by up to {size}"


def shortened(message: str) -> str:
    """The first sentence, without addresses and paths."""
    message = re.sub(r"\x1b\[\d+m", "", message)  # colours
    message = re.sub(r"0x[0-9a-f]+|(/[\w.-]+)+/|Traced<[^>]*>", "…", message)
    return message[:160] + ("…" if len(message) > 160 else "")


def places() -> list[tuple[str, str]]:
    """Row and column of all that is tried."""
    return [
        (name, title)
        for name, subject in peers(F, U).items()
        for title in TITLES
        if applies(subject, title)
    ]


def tried(name: str, title: str) -> Found:
    """What comes out at a place in this process."""
    function = COLUMNS[TITLES[title]][title]
    return found(error_of(function, subject_for(name, title)))


def subject_for(name: str, title: str) -> Subject:
    """The row; Keras with its own tanh where float64 itself is asked for."""
    if title == "float64" and name.startswith("Keras"):
        kind = name.split(", ")[1]
        return rows_of("Keras", kind, F, U, activation="tanh")[name]
    return peers(F, U)[name]


def measured(chosen: list[tuple[str, str]]) -> dict[tuple[str, str], Found]:
    """What comes out at the places, those on eight devices in a process of their own."""
    here = [pair for pair in chosen if TITLES[pair[1]] != DEVICES]
    there = [pair for pair in chosen if TITLES[pair[1]] == DEVICES]
    results, last = {}, None
    for name, title in here:
        if name != last:
            jax.clear_caches()
        last = name
        results[name, title] = tried(name, title)
    errors = on_devices(there) if there else {}
    return results | {pair: found(error) for pair, error in errors.items()}


def no_option(name: str, title: str) -> bool:
    """Whether a library cannot even be asked."""
    return title in PADDED and peers(F, U)[name].padded is None and "one step" not in name


def main() -> None:
    """Tries all places, or those that match an argument ("Keras*/jit"), and writes the file."""
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_disable_most_optimizations", True)
    table: dict[str, dict] = {name: {} for name in peers(F, U)}
    chosen, patterns = places(), sys.argv[1:]
    if patterns:
        table = json.loads(FILE.read_text(encoding="utf-8"))["not ✓"]
        chosen = [
            pair
            for pair in chosen
            if any(fnmatch.fnmatch("/".join(pair), pattern) for pattern in patterns)
        ]
    for (name, title), (kind, message) in measured(chosen).items():
        table[name].pop(title, None)
        if kind:
            table[name][title] = [kind, message]
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    text = json.dumps({"versions": versions, "not ✓": table}, indent=1, ensure_ascii=False)
    FILE.write_text(text + "\n", encoding="utf-8")
    print(FILE)


if __name__ == "__main__":
    main()
