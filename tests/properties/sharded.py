"""Sharded is unsharded: a law to be tried where there are eight devices.

``python -m tests.properties.sharded 200`` draws so many examples; see ``test_sharded.py``.
"""

import functools
import sys

import hypothesis
import jax
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from tests.cases import assert_close
from tests.properties.problems import Setting, cells, compiled, differentiated, problem, run, seeds

SETTINGS = [
    Setting(8, 4, 3, 8, resets=True),
    Setting(8, 5, 8, 4, reverse=True, time_major=True, implementation="hoisted"),
    Setting(16, 1, 2, 8, implementation="in_loop", fresh=True),
]
KINDS = ["rows", "units", "both", "shard_map", "explicit rows", "explicit both"]


@functools.cache
def mesh(explicit: bool):
    kind = AxisType.Explicit if explicit else AxisType.Auto
    return jax.make_mesh((4, 2), ("rows", "units"), axis_types=(kind, kind))


def whole(cell, setting, params, xs, state, mask, lengths, resets):
    def call(params, xs, state):
        given = {"mask": mask, "lengths": lengths, "resets": resets}
        return run(cell, setting, params, xs, state, **given)

    return differentiated(call)(params, xs, state)


def parts(cell, setting, params, xs, state, mask, lengths, resets):
    """The same under `shard_map` over rows."""

    def call(params, xs, state):
        def of_rows(params, xs, state, mask, lengths, resets):
            given = {"mask": mask, "lengths": lengths, "resets": resets}
            return run(cell, setting, params, xs, state, **given)

        row = P("rows")
        specs = {"in_specs": (P(), *[row] * 5), "out_specs": row}
        mapped = jax.shard_map(of_rows, mesh=mesh(False), **specs)
        return mapped(params, xs, state, mask, lengths, resets)

    return differentiated(call)(params, xs, state)


def placed(kind, drawn):
    """The arrays on the mesh: batch by rows, what ends in units by units."""
    rows = "rows" if "units" not in kind else None
    units = "units" if "rows" not in kind else None
    on = mesh("explicit" in kind)

    def by_rows(leaf):
        return jax.device_put(leaf, NamedSharding(on, P(rows)))

    def by_units(leaf, first=None):
        last = units if leaf.shape[-1] % 2 == 0 else None
        spec = [first, *[None] * (leaf.ndim - 2), last] if leaf.ndim > 1 else [last]
        return jax.device_put(leaf, NamedSharding(on, P(*spec)))

    return drawn._replace(
        params=jax.tree.map(by_units, drawn.params),
        state=jax.tree.map(lambda leaf: by_units(leaf, rows), drawn.state),
        xs=by_rows(drawn.xs),
        mask=by_rows(drawn.mask),
        lengths=by_rows(drawn.lengths),
        resets=by_rows(drawn.resets),
    )


def float32(drawn):
    return jax.tree.map(lambda a: a.astype(np.float32) if a.dtype == float else a, drawn)


@given(seeds, cells, st.sampled_from(SETTINGS), st.sampled_from(KINDS))
def sharded_is_unsharded(seed, cell, setting, kind):
    drawn = float32(problem(seed, cell, setting))
    wanted = compiled(whole, cell, setting)(*drawn)
    if kind == "shard_map":
        result = compiled(parts, cell, setting)(*drawn)
    else:
        with jax.set_mesh(mesh("explicit" in kind)):
            result = compiled(whole, cell, setting)(*placed(kind, drawn))
    devices = {len(leaf.sharding.device_set) for leaf in jax.tree.leaves(result)}
    assert devices == {8}
    for one, other in zip(jax.tree.leaves(result), jax.tree.leaves(wanted), strict=True):
        scale = max(1.0, float(np.abs(other).max(initial=0)))  # a gradient adds up over rows
        assert_close(np.asarray(one) / scale, np.asarray(other) / scale, 1e-6)


def main() -> None:
    """Draws as many examples as the argument says."""
    jax.config.update("jax_disable_most_optimizations", True)
    assert len(jax.devices()) == 8
    count = int(sys.argv[1])
    wanted = hypothesis.settings(
        max_examples=count, deadline=None, database=None, derandomize=count < 100
    )
    wanted(sharded_is_unsharded)()
    print("done")


if __name__ == "__main__":
    main()
