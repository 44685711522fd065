"""Columns of the contract grid on eight devices, and the program that tries them.

``python -m tests.contract.devices`` reads pairs of subject and column as JSON, and writes the error
of each, or an empty text. It is started once for many pairs, with eight devices.
"""

import functools
import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from tests.cases import assert_close
from tests.contract.reference import (
    COLUMNS,
    Reference,
    column,
    differentiated,
    error_of,
    plain,
    reference,
)
from tests.contract.subjects import arguments, subjects

DEVICES = 8  # as many rows, features and units, each on a device of its own
STEPS = 4  # where time is split


@functools.cache
def mesh(kind: AxisType, **axes: int):
    """A mesh of the eight devices, along one axis "d" unless others are given."""
    axes = axes or {"d": DEVICES}
    return jax.make_mesh(tuple(axes.values()), tuple(axes), axis_types=(kind,) * len(axes))


def compare(result, known):
    assert_close(result, (known.outputs, known.gradient), 1e-11)


def placed(tree, mesh, spec):
    """The arrays on the mesh; ``spec`` is one for all, or a function of the array."""
    of = spec if callable(spec) else lambda leaf: spec
    return jax.tree.map(lambda leaf: jax.device_put(leaf, NamedSharding(mesh, of(leaf))), tree)


def last_axis(name: str, size: int):
    """Splits the last axis of an array where it can be."""

    def spec(leaf):
        last = name if leaf.shape[-1] % size == 0 else None
        return P(*[None] * (leaf.ndim - 1), last)

    return spec


def everywhere(tree) -> bool:
    return all(len(leaf.sharding.device_set) == DEVICES for leaf in jax.tree.leaves(tree))


@column("Eight devices", "shard_map")
def shard_map(s):
    """`jax.shard_map` over the rows of state and input; outputs and gradient."""
    row = P("d")
    run = jax.shard_map(s.call, mesh=mesh(AxisType.Auto), in_specs=(P(), row, row), out_specs=row)
    known = reference(s, rows=1, batch=DEVICES)
    result = jax.jit(differentiated(run))(*known.args)
    assert everywhere(result[0]), "wrong devices"
    compare(result, known)


@column("Eight devices", "shard_map, no state")
def shard_map_no_state(s):
    """The same with no state given."""
    row = P("d")
    run = jax.shard_map(s.fresh, mesh=mesh(AxisType.Auto), in_specs=(P(), row), out_specs=row)
    known = from_zeros(s, rows=1)
    result = jax.jit(differentiated(lambda p, x, _: run(p, x)))(known.args[0], known.args[2], 0.0)
    assert_close(result[0], known.outputs, 1e-11)
    assert_close(result[1][:2], known.gradient[::2], 1e-11)


def from_zeros(s, rows=0):
    """The reference for a state of zeros."""
    params, state, x = arguments(s, (DEVICES,))
    args = params, jax.tree.map(lambda leaf: 0 * leaf, state), x
    return Reference(args, *plain(s, rows if s.key else 0)(*args))


@column("Eight devices", "units automatic")
def units_automatic(s):
    """`jax.shard_map` over rows alone (`axis_names`), the units' axis left to the compiler."""
    both = mesh(AxisType.Auto, d=4, m=2)
    row = P("d")
    specs = {"in_specs": (P(), row, row), "out_specs": row, "axis_names": {"d"}}
    run = jax.shard_map(s.call, mesh=both, **specs)
    known = reference(s, rows=2, batch=DEVICES)
    params = placed(known.args[0], both, last_axis("m", 2))
    compare(jax.jit(differentiated(run))(params, *known.args[1:]), known)


@column("Eight devices", "explicit mesh")
def explicit_mesh(s):
    """A mesh of explicit axes (`jax.set_mesh`), state and input split by rows: so is all output."""
    known = reference(s, batch=DEVICES)
    params, *rows = known.args
    explicit = mesh(AxisType.Explicit)
    with jax.set_mesh(explicit):
        args = placed(params, explicit, P()), *placed(rows, explicit, P("d"))
        result = jax.jit(differentiated(s.call))(*args)
    split = all(leaf.sharding.spec[0] == "d" for leaf in jax.tree.leaves(result[0]))
    assert split, "wrong sharding"
    compare(result, known)


@column("Eight devices", "explicit, no state")
def explicit_no_state(s):
    """The same with no state given."""
    known, explicit = from_zeros(s), mesh(AxisType.Explicit)
    with jax.set_mesh(explicit):
        params, x = placed(known.args[0], explicit, P()), placed(known.args[2], explicit, P("d"))
        result = jax.jit(differentiated(lambda p, x, _: s.fresh(p, x)))(params, x, jnp.zeros(()))
    assert_close(result[0], known.outputs, 1e-11)
    assert_close(result[1][:2], known.gradient[::2], 1e-11)


@column("Eight devices", "units split")
def units_split(s):
    """Parameters and state split by units (`NamedSharding`) under `jax.jit`; outputs, gradient."""
    known, auto = reference(s, batch=DEVICES), mesh(AxisType.Auto)
    params, state = placed(known.args[:2], auto, last_axis("d", DEVICES))
    assert not any(leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(state)[-1:])
    x = placed(known.args[2], auto, P())
    compare(jax.jit(differentiated(s.call))(params, state, x), known)


@column("Eight devices", "explicit units")
def explicit_units(s):
    """The same on a mesh of explicit axes."""
    known, explicit = reference(s, batch=DEVICES), mesh(AxisType.Explicit)
    with jax.set_mesh(explicit):
        params, state = placed(known.args[:2], explicit, last_axis("d", DEVICES))
        x = placed(known.args[2], explicit, P())
        compare(jax.jit(differentiated(s.call))(params, state, x), known)


def check_sequence(s, kind: AxisType):
    """The rows of the input on one axis of the mesh, its steps on the other."""
    args = arguments(s, (DEVICES,), steps=STEPS)
    known = jax.jit(differentiated(s.plain))(*args)
    both = mesh(kind, d=2, t=STEPS)
    params, state = placed(args[0], both, P()), placed(args[1], both, P("d"))
    x = placed(args[2], both, P("d", "t"))
    assert_close(jax.jit(differentiated(s.call))(params, state, x), known, 1e-11)


@column("Eight devices", "rows and time")
def rows_and_time(s):
    """The input split by rows and by steps, on a mesh of 2 × 4; outputs and gradient."""
    check_sequence(s, AxisType.Auto)


@column("Eight devices", "explicit time")
def explicit_time(s):
    """The same on a mesh of explicit axes."""
    with jax.set_mesh(mesh(AxisType.Explicit, d=2, t=STEPS)):
        check_sequence(s, AxisType.Explicit)


def on_devices(pairs: list[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """The error at each place, or an empty text, from a process that has eight devices."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={DEVICES}"
    path = os.pathsep.join(sys.path)
    done = subprocess.run(
        [sys.executable, "-m", "tests.contract.devices"],
        input=json.dumps(pairs),
        env=os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    errors = json.loads(done.stdout.splitlines()[-1])  # a library may have printed something
    return dict(zip(pairs, errors, strict=True))


def main() -> None:
    """Tries what is asked for on standard input."""
    from tests.contract.peer_subjects import peers

    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_disable_most_optimizations", True)
    assert len(jax.devices()) == DEVICES
    pairs = json.loads(sys.stdin.read())
    rows, columns = subjects(DEVICES, DEVICES), COLUMNS["Eight devices"]
    if not {name for name, _ in pairs} <= set(rows):
        rows = rows | peers(DEVICES, DEVICES)
    errors, last = [], None
    for name, title in pairs:
        if name != last:
            jax.clear_caches()
        last = name
        errors.append(error_of(columns[title], rows[name]))
    print(json.dumps(errors))


if __name__ == "__main__":
    from tests.contract import devices  # not __main__: the columns are registered there

    devices.main()
