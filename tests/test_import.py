"""What `import jrnn` costs: JAX and nothing else."""

import json
import subprocess
import sys

import pytest


def run(code: str):
    """What the code prints as JSON, in a fresh interpreter."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def packages_after(imports: str) -> set[str]:
    listing = "sorted({name.partition('.')[0] for name in sys.modules})"
    return set(run(f"{imports}; import json, sys; print(json.dumps({listing}))"))


def seconds_to_import(module: str) -> float:
    clock = "import time; start = time.perf_counter()"
    return run(f"{clock}; import {module}; print(time.perf_counter() - start)")


def test_import_loads_jax_alone():
    before = packages_after("import jax, jax.numpy")
    after = packages_after("import jax, jax.numpy, jrnn")
    assert after - before - sys.stdlib_module_names == {"jrnn"}


def test_the_rest_is_imported_when_first_asked_for():
    asked = "import jrnn; jrnn.nd4j.gru_cell; jrnn.flax_wrappers.nnx.from_keras"
    loaded = packages_after(f"{asked}; jrnn.flax_wrappers.linen.RNN")
    assert {"flax", "jrnn"} <= loaded
    assert "flax" not in packages_after("import jrnn; jrnn.nd4j.gru_cell")


@pytest.mark.slow
def test_import_takes_hardly_longer_than_jax():
    rounds = [(seconds_to_import("jrnn"), seconds_to_import("jax")) for _ in range(7)]
    jrnn, jax = map(min, zip(*rounds, strict=True))
    assert jrnn < 1.15 * jax
