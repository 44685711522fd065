"""The Python of docs/nd4j.md runs as it stands there."""

import re

from jrnn import nd4j
from tests.docs.pages import DOCS, python_of, run_python


def test_porting_example_runs():
    assert len(python_of("nd4j.md")) == 3
    run_python("nd4j.md")


def test_every_op_weight_and_configuration_is_on_the_page():
    text = (DOCS / "nd4j.md").read_text("utf-8")
    outputs = {name for name in nd4j.__all__ if name.endswith("Outputs")} | {"HiddenAndCell"}
    for name in set(nd4j.__all__) - outputs:
        assert re.search(rf"`(nd4j\.)?{name}[`(]", text), name
