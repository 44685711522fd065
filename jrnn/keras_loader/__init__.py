"""FILE -> PARAMS: models that Keras wrote, without Keras."""

from jrnn.keras_loader.errors import KerasFileError
from jrnn.keras_loader.load import load_keras

__all__ = ["KerasFileError", "load_keras"]
