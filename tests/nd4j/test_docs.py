"""The Python of docs/nd4j.md runs as it stands there."""

import re
from pathlib import Path

from jrnn import nd4j

PAGE = Path(__file__).parents[2] / "docs" / "nd4j.md"


def test_porting_example_runs():
    blocks = re.findall(
        r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE
    )
    assert len(blocks) == 3
    exec("\n".join(blocks), {})


def test_every_op_weight_and_configuration_is_on_the_page():
    text = PAGE.read_text("utf-8")
    outputs = {name for name in nd4j.__all__ if name.endswith("Outputs")} | {"HiddenAndCell"}
    for name in set(nd4j.__all__) - outputs:
        assert re.search(rf"`(nd4j\.)?{name}[`(]", text), name
