"""The part of ``docs/contract.md`` about other libraries, made of what ``peers.json`` has."""

import json
import textwrap
from collections.abc import Iterator

from tests.contract.outcomes import applies
from tests.contract.peer_subjects import PEERS, peers
from tests.contract.peers import FILE, TITLES, no_option
from tests.contract.subjects import F, U

TEXT = """
Written by `python -m tests.contract.peers`, which tries each place, jrnn's too, by the
functions of the columns above, with {versions}, on CPU. Each library is called as its
documentation shows, under `jax.jit`: Flax's `RNN` over `OptimizedLSTMCell` and `GRUCell` (Linen
and NNX), told the parameters' dtype as `param_dtype`; `keras.layers.LSTM` and `GRU` through
`stateless_call`, with `dtype`, lengths as a mask; `haiku.dynamic_unroll` over `LSTM` and `GRU`;
Equinox's cells in `lax.scan`, with `jax.vmap` over rows, from `jnp.zeros` where no state is
given; `jax.experimental.rnn.lstm`, which is cuDNN's and has no other backend. All have the same
random weights, converted inside the call, so that gradients are compared, too, and are held to
the equations in `jax.numpy`. What other libraries put out at steps of padding is their own
choice and not compared. Keras computes tanh of float64 in float32, whatever it is told; so as
to see anything beside it, it is given `activation=jax.numpy.tanh` in all columns but float64.
An empty place: there is nothing to try. "no option": the library cannot be asked.
`test_peers.py` tries some places again at every run, and all with `-m ""`."""


def peers_section() -> Iterator[str]:
    """The lines of the section."""
    measured = json.loads(FILE.read_text(encoding="utf-8"))
    versions = ", ".join(f"{name} {number}" for name, number in measured["versions"].items())
    yield from ["## Other libraries", ""]
    yield from textwrap.wrap(" ".join(TEXT.format(versions=versions).split()), 110)
    notes: dict[tuple[str, str], int] = {}
    for kind in ("LSTM", "GRU"):
        for step in ("", ", one step"):
            yield from ["", f"### {kind}{step}", ""]
            names = [name for name in PEERS if f"{name}, {kind}{step}" in peers(F, U)]
            yield f"| | {' | '.join(names)} |"
            yield f"| --- |{' :---: |' * len(names)}"
            rows = [f"{name}, {kind}{step}" for name in names]
            for title in TITLES:
                places = [_place(row, title, measured["not ✓"][row], notes) for row in rows]
                if any(places):
                    yield f"| {title} | {' | '.join(places)} |"
    yield from ["", "### What the errors say", ""]
    for (kind, message), number in notes.items():
        yield from textwrap.wrap(f"{number}. {kind}: `{message}`", 110, subsequent_indent="   ")


def _place(row: str, title: str, wrong: dict, notes: dict[tuple[str, str], int]) -> str:
    if no_option(row, title):
        return "no option"
    if not applies(peers(F, U)[row], title):
        return ""
    if title not in wrong:
        return "✓"
    kind, message = wrong[title]
    if not message or kind == "refused":
        return kind
    if kind == "wrong numbers":
        return f"{kind}, {message}"
    return f"{kind} {notes.setdefault((kind, message), len(notes) + 1)}"
