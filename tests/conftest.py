"""What every test may ask for: 64-bit floats, and how hard Hypothesis searches."""

import os

os.environ.setdefault("KERAS_BACKEND", "jax")  # before anything imports Keras

import jax
import pytest
from hypothesis import settings

settings.register_profile("quick", max_examples=20, derandomize=True, deadline=None)
settings.register_profile("full", max_examples=200, deadline=None, print_blob=True)


def pytest_configure(config: pytest.Config) -> None:
    """Searches as long as the slow tests may take where they are asked for: `pytest -m ""`."""
    settings.load_profile("quick" if config.option.markexpr == "not slow" else "full")


@pytest.fixture(scope="module")
def x64():
    """64-bit floats throughout the module that uses it."""
    with jax.enable_x64(True):
        yield
