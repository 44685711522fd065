"""What every test may ask for: 64-bit floats, how hard Hypothesis searches, how tests compile."""

import os
import tempfile

os.environ.setdefault("KERAS_BACKEND", "jax")  # before anything imports Keras

import jax
import pytest
from hypothesis import settings

settings.register_profile("quick", max_examples=10, derandomize=True, deadline=None)
settings.register_profile("full", max_examples=200, deadline=None, print_blob=True)


# Where XLA's optimizations are left on. Elsewhere a test asks which numbers meet, and to compile
# what it runs once would be nearly all of its time.
OPTIMIZED = ("layers", "scan")


def pytest_configure(config: pytest.Config) -> None:
    """Searches as long as the slow tests may take where they are asked for: `pytest -m ""`."""
    settings.load_profile("quick" if config.option.markexpr == "not slow" else "full")
    if not hasattr(config, "workerinput"):  # the process that starts the others, if there are any
        _share_compiled(config)


def _share_compiled(config: pytest.Config) -> None:
    """Lets the test processes take from one another what one has compiled, until all are done."""
    folder = tempfile.TemporaryDirectory(prefix="jrnn-compiled-")
    config.add_cleanup(folder.cleanup)
    jax.config.update("jax_compilation_cache_dir", folder.name)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = folder.name
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"


@pytest.fixture(scope="module", autouse=True)
def compile_quickly(request: pytest.FixtureRequest):
    """Leaves out XLA's optimizations, except in the folders above, and drops what was compiled.

    Every compiled program holds several mappings of memory, of which Linux gives a process 65530:
    past that XLA crashes.
    """
    quickly = request.path.parent.name not in OPTIMIZED
    jax.config.update("jax_disable_most_optimizations", quickly)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
    jax.clear_caches()


@pytest.fixture(scope="module")
def x64():
    """64-bit floats throughout the module that uses it."""
    with jax.enable_x64(True):
        yield
