"""Gradients, `jit`, `vmap` and `shard_map` of every op, on the inputs of one table."""

import jax
import numpy as np
import pytest
from jax.test_util import check_grads

from tests.cases import assert_close, every_other
from tests.devices import run_on_devices
from tests.nd4j.table import OPS, arguments

pytestmark = pytest.mark.usefixtures("x64")
every_op = pytest.mark.parametrize("op", OPS.values(), ids=OPS)


@pytest.mark.parametrize("op", every_other(OPS))
def test_gradients(op):
    """Of every float, in both modes; the step of 1e-5 leaves errors of about 1e-10."""
    args = arguments(op)
    floats, lengths = args[: len(op.shapes)], args[len(op.shapes) :]
    check_grads(
        lambda *floats: op.call(*floats, *lengths), floats, 1, ("fwd", "rev"), 1e-7, 1e-7, eps=1e-5
    )


@every_op
def test_jit_of_vmap(op):
    """Over every argument, weights and traced lengths too, as plain calls in a Python loop."""
    problems = [arguments(op, seed) for seed in (1, 2)]
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *problems)
    together = jax.jit(jax.vmap(op.call))(*stacked)
    for k, args in enumerate(problems):
        assert_close(jax.tree.map(lambda leaf: leaf[k], together), op.call(*args), 1e-14)  # noqa: B023


SHARDED = """
import sys
import jax, numpy as np
from tests.nd4j.table import OPS, arguments, by_rows

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_disable_most_optimizations", True)
assert len(jax.devices()) == 8
mesh = jax.sharding.Mesh(np.array(jax.devices()), ("rows",))
results = {}
for name, op in OPS.items():
    args = arguments(op)
    outputs = by_rows(jax.eval_shape(op.call, *args))
    split = jax.shard_map(op.call, mesh=mesh, in_specs=by_rows(args), out_specs=outputs)
    for k, leaf in enumerate(jax.tree.leaves(jax.jit(split)(*args))):
        assert len(leaf.sharding.device_set) == 8 and not leaf.sharding.is_fully_replicated
        results[f"{name} {k}"] = leaf
np.savez(sys.argv[1], **results)
print("done")
"""


def test_jit_of_shard_map(tmp_path):
    """Over the batch on eight devices, each with two rows, as a plain call on one."""
    run_on_devices(8, SHARDED, tmp_path / "results.npz")
    with np.load(tmp_path / "results.npz") as results:
        for name, op in OPS.items():
            leaves = jax.tree.leaves(op.call(*arguments(op)))
            assert_close([results[f"{name} {k}"] for k in range(len(leaves))], leaves, 1e-14)
