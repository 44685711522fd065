"""``RNN`` over cells, and its arrays, spelled by hand."""

from tests.keras_entries import arrays_of, entry, holds


def cell(kind: str, units: int = 5, name: str | None = None, **options) -> dict:
    return entry(f"{kind}Cell", name=name or kind.lower(), units=units, **options)


def rnn(*cells: dict, name="r", stack_options=None, **options) -> dict:
    """``RNN`` over a cell, or over a stack where there are several."""
    inner = cells[0]
    if len(cells) > 1:
        inner = entry("StackedRNNCells", name="s", cells=list(cells), **(stack_options or {}))
    return entry("RNN", name=name, cell=inner, **{"return_sequences": True, **options})


MIXED = (cell("LSTM", 5), cell("GRU", 4, reset_after=False), cell("SimpleRNN", 2))


def mixed_arrays(prefix: str = "", seed: int = 0) -> list[list]:
    """The arrays of ``MIXED`` over three features, cell by cell."""
    return [
        arrays_of("LSTM", 3, 5, prefix=prefix, seed=seed),
        arrays_of("GRU", 5, 4, prefix=prefix, seed=seed + 3),
        arrays_of("SimpleRNN", 4, 2, prefix=prefix, seed=seed + 6),
    ]


def flat(lists) -> list:
    return [array for one in lists for array in one]


def holds_all(params, arrays) -> bool:
    assert len(params) == len(arrays)
    return all(holds(one, own) for one, own in zip(params, arrays, strict=True))
