"""``docs/keras_support.md``: which layer with which option has been compared, by writer.

``python -m tests.keras_support`` writes the page, ``test_support.py`` checks that it is up to date.
What it counts are models whose outputs are compared by the tests: the recorded ones of
``tests/data/manifest.json``, replayed by ``test_fixtures.py``, and those that
``test_random_models.py`` drew in its longest run, counted in ``docs/keras_random_models.json``.
"""

import collections
import json
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jrnn.keras_loader.read import open_keras

TESTS = Path(__file__).parent
DATA = TESTS / "data"
PAGE = TESTS.parent / "docs" / "keras_support.md"
RANDOM = "Keras 3, random"
COLUMNS = {
    "Keras 1": ("keras-1.",),
    "Keras 2": ("keras-2.",),
    "tf.keras 1": ("tf.keras-1.",),
    "tf.keras 2, tf_keras": ("tf.keras-2.", "tf_keras-"),
    "Keras 3": ("keras-3.",),
}
OPTIONS = {  # what an option is called in the table: its names since Keras 1
    "return_sequences": ("return_sequences",),
    "return_state": ("return_state",),
    "go_backwards": ("go_backwards",),
    "stateful": ("stateful",),
    "unroll": ("unroll",),
    "time_major": ("time_major",),
    "zero_output_for_mask": ("zero_output_for_mask",),
    "use_bias": ("use_bias", "bias"),
    "reset_after": ("reset_after",),
    "implementation": ("implementation", "consume_less"),
    "activation": ("activation",),
    "recurrent_activation": ("recurrent_activation", "inner_activation"),
    "dropout": ("dropout", "dropout_W"),
    "recurrent_dropout": ("recurrent_dropout", "dropout_U"),
    "merge_mode": ("merge_mode", "mode"),
    "mask_zero": ("mask_zero",),
    "padding": ("padding", "border_mode"),
    "data_format": ("data_format", "dim_ordering"),
    "strides": ("strides", "subsample"),
    "dilation_rate": ("dilation_rate", "atrous_rate"),
}
WORDS = ("activation", "dtype", "inside", "recurrent_activation")  # whose values share a row

Found = dict[tuple[str, str], set[str]]  # (layer, option) -> names of models


def main() -> None:
    """Writes the page."""
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)


def page() -> str:
    """Returns the whole page."""
    cases = [
        case for case in json.loads((DATA / "manifest.json").read_text()) if "commands" in case
    ]
    counts: dict[tuple[str, str], collections.Counter[str]] = {}
    values: dict[tuple[str, str], set[str]] = collections.defaultdict(set)
    for case in cases:
        column = _column(case["writer"])
        for kind, option, value in set(_of_case(case)):
            row = (kind, option if option in WORDS else f"{option}={value}" if option else "")
            values[row].add(value)
            counts.setdefault(row, collections.Counter())[column] += 1
    drawn = json.loads((PAGE.with_name("keras_random_models.json")).read_text())
    for kind, options in drawn["layers"].items():
        for option, formats in options.items():
            name, _, value = option.replace("inside ", "inside=").partition("=")
            row = (kind, name if name in WORDS else option)
            values[row].add(value)
            counts.setdefault(row, collections.Counter())[RANDOM] += sum(formats.values())
    return "\n".join([*_head(cases, drawn), *_table(counts, values)]) + "\n"


def _column(writer: str) -> str:
    return next(name for name, starts in COLUMNS.items() if writer.startswith(starts))


def _of_case(case: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yields (layer, option, value) of every architecture among a case's files."""
    for command in case["commands"]:
        for argument in command:
            path = DATA / argument
            if "/" not in argument or path.suffix == ".npz" or not path.is_file():
                continue
            with open_keras(path) as file:
                if file.config is not None:
                    yield from _walk(file.config)


def _walk(node: Any) -> Iterator[tuple[str, str, str]]:
    """Yields what each object with a class and a config says, at any depth."""
    if isinstance(node, list):
        for one in node:
            yield from _walk(one)
    if not isinstance(node, dict):
        return
    kind, config = node.get("class_name"), node.get("config")
    if isinstance(kind, str) and isinstance(config, dict) and "name" in config:
        yield kind, "", ""
        for option, names in OPTIONS.items():
            value = next((config[name] for name in names if name in config), None)
            if isinstance(value, bool | int | float | str | list):
                yield kind, option, _shown(option, value)
    for one in node.values():
        yield from _walk(one)


def _shown(option: str, value: Any) -> str:
    if option in ("dropout", "recurrent_dropout"):
        return "more than 0" if value else "0"
    if option in ("strides", "dilation_rate"):
        return "more than 1" if max(value if isinstance(value, list) else [value]) > 1 else "1"
    return value if isinstance(value, str) else json.dumps(value)


def _head(cases: list[dict[str, Any]], drawn: dict[str, Any]) -> list[str]:
    writers = sorted({case["writer"] for case in cases})
    errors = drawn["worst errors of outputs and gradients"]
    worst = max(max(errors[dtype]) for dtype in ("float32", "float64"))
    text = f"""Written by `python -m tests.keras_support`; do not edit. Each number counts models
    that a real Keras wrote and computed, and whose outputs jrnn computes from the file within 1e-5:
    recorded ones, {len(cases)} of {len(writers)} writers ({", ".join(writers)}), replayed by
    `tests/keras_loader/test_fixtures.py`; and random ones, {drawn["models"]} of
    {drawn["writer"]},
    drawn by `tests/keras_loader/test_random_models.py`, with gradients (largest error in float32
    {worst:.1e}; 16-bit models are compared more loosely). Where several values share a row, their
    numbers are added. An empty place means that no test compares it, not that it does not work."""
    return [
        "# What has been compared with Keras",
        "",
        *textwrap.wrap(" ".join(text.split()), 110),
        "",
    ]


def _table(
    counts: dict[tuple[str, str], collections.Counter[str]], values: dict[tuple[str, str], set[str]]
) -> Iterator[str]:
    columns = [*COLUMNS, RANDOM]
    yield f"| layer | option | {' | '.join(columns)} |"
    yield f"| --- | --- |{' ---: |' * len(columns)}"
    for row in sorted(counts):
        kind, option = row
        shown = f"{option}: {', '.join(sorted(values[row]))}" if option in WORDS else option
        numbers = [str(counts[row][name] or "") for name in columns]
        yield f"| {'' if option else f'**{kind}**'} | {shown} | {' | '.join(numbers)} |"


if __name__ == "__main__":
    main()
