"""A Keras file with what training treats in ways of its own."""

import keras
import numpy as np
import pytest
from keras import layers


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((5, 3)),
            layers.LSTM(
                4, return_sequences=True, dropout=0.2, kernel_regularizer="l2", name="lstm"
            ),
            layers.BatchNormalization(name="norm", momentum=0.5),
            layers.Dense(4, name="frozen", trainable=False),
            layers.GRU(3, name="gru"),
            layers.Dense(2, kernel_constraint=keras.constraints.MaxNorm(0.5), name="dense"),
        ]
    )
    rng = np.random.default_rng(2)
    model.set_weights([abs(rng.normal(size=w.shape)) / 2 + 0.1 for w in model.get_weights()])
    file = tmp_path_factory.mktemp("keras") / "model.keras"
    model.save(file)
    return file
