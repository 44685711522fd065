"""The Python of docs/flax.md runs as it stands there."""

import keras
from keras import layers

from tests.docs.pages import run_python


def test_examples_run(tmp_path):
    model = keras.Sequential([keras.Input((7, 3)), layers.LSTM(4, kernel_regularizer="l2")])
    model.save(tmp_path / "model.keras")
    names = run_python("flax.md", path=tmp_path / "model.keras", out=tmp_path / "out.keras")
    assert names["loss"] > 0
    assert names["value"] > 0
    assert keras.saving.load_model(names["out"]).count_params() == model.count_params()
