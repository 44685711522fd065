"""Every cell, layer and op under everything that users of JAX do; docs/contract.md is the table.

``pytest tests/contract`` tries some pairs of subject and column, with each of both, and
``pytest -m "" tests/contract`` all of them. ``-k "jit and GRUCell"`` picks some by their names.
"""

import functools
import re

import jax
import pytest

from tests.contract.devices import on_devices
from tests.contract.outcomes import outcome, pairs, quick
from tests.contract.page import PAGE, page
from tests.contract.reference import COLUMNS
from tests.contract.subjects import subjects

pytestmark = pytest.mark.usefixtures("x64")
LAST: list[str | None] = []  # the subject tried last
TRIED = {title: function for titles in COLUMNS.values() for title, function in titles.items()}


def marked(some):
    """The pairs as parameters of a test, those marked slow that are not for every run."""
    return [
        pytest.param(*pair, marks=() if quick(*pair) else pytest.mark.slow, id=" - ".join(pair))
        for pair in some
    ]


@pytest.fixture(autouse=True)
def drop_compiled(request):
    """Forgets what was compiled for another subject: there is a limit (tests/conftest.py)."""
    callspec = getattr(request.node, "callspec", None)
    name = callspec.params.get("name") if callspec else None
    if [name] != LAST:
        jax.clear_caches()
    LAST[:] = [name]


@pytest.mark.parametrize(("name", "title"), marked(pairs()))
def test_contract(name, title):
    subject = subjects()[name]
    wanted = outcome(name, subject, title)
    if wanted is None:
        TRIED[title](subject)
        return
    with pytest.raises(wanted.error, match=re.escape(wanted.message)):
        TRIED[title](subject)


@functools.cache
def tried_on_devices(wanted: bool) -> dict:
    """The errors of the pairs on devices that are for every run, or of the others."""
    chosen = [pair for pair in pairs("Eight devices") if quick(*pair) == wanted]
    return on_devices(chosen)


@pytest.mark.parametrize("wanted", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_contract_on_devices(wanted):
    errors = tried_on_devices(wanted)
    wrong = {}
    for (name, title), error in errors.items():
        known = outcome(name, subjects()[name], title)
        good = error == "" if known is None else f"{known.error.__name__}: " in error
        if not good or (known is not None and known.message not in error):
            wrong[name, title] = error or "passes, though it is listed as one that does not"
    assert wrong == {}
    assert errors


def test_every_run_has_each_subject_and_column():
    chosen = [pair for group in COLUMNS for pair in pairs(group) if quick(*pair)]
    assert {name for name, _ in chosen} == set(subjects())
    assert {title for _, title in chosen} == set(TRIED)


def test_every_op_has_a_row():
    """All of ``jrnn.nd4j`` that is called with arrays."""
    from jrnn import nd4j

    converts = re.compile(r".*_(to|from)_params")
    ops = {name for name in nd4j.__all__ if name.islower() and not converts.fullmatch(name)}
    assert ops == {name[5:].split(",")[0] for name in subjects() if name.startswith("nd4j.")}


def test_page_is_up_to_date():
    assert PAGE.read_text(encoding="utf-8") == page(), "run python -m tests.contract.page"


def test_a_wrong_number_is_found():
    """The comparison of every column fails for an op that is not the plain one."""
    subject = subjects()["rnn, SimpleRNNCell"]

    def a_little_off(*args):
        return jax.tree.map(lambda y: 1.001 * y, subject.call(*args))

    wrong = subject._replace(call=a_little_off)
    for title in ("jit", "vmap rows", "scan over it", "jvp", "hessian", "float32"):
        with pytest.raises(AssertionError):
            TRIED[title](wrong)
