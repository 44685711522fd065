"""FILE -> PARAMS, and back: models that Keras wrote, without Keras."""

from jrnn.keras_loader.describe import count_params, output_shapes
from jrnn.keras_loader.errors import KerasFileError
from jrnn.keras_loader.load import load_keras
from jrnn.keras_loader.save import save_keras

__all__ = ["KerasFileError", "count_params", "load_keras", "output_shapes", "save_keras"]
