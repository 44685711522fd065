"""The Python of docs/flax.md runs as it stands there."""

import re
from pathlib import Path

import keras
from keras import layers

PAGE = Path(__file__).parents[2] / "docs" / "flax.md"


def test_examples_run(tmp_path):
    model = keras.Sequential([keras.Input((7, 3)), layers.LSTM(4, kernel_regularizer="l2")])
    model.save(tmp_path / "model.keras")
    blocks = re.findall(
        r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE
    )
    assert len(blocks) == 4
    names = {"path": tmp_path / "model.keras", "out": tmp_path / "out.keras"}
    exec("\n".join(blocks), names)
    assert names["loss"] > 0
    assert names["value"] > 0
    assert keras.saving.load_model(names["out"]).count_params() == model.count_params()
