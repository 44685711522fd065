"""Columns of the contract grid on eight devices, and the program that tries them.

``python -m tests.contract.devices`` reads pairs of subject and column as JSON, and writes the error
of each, or an empty text. It is started once for many pairs, with eight devices.
"""

import functools
import json
import sys
from collections.abc import Callable

import jax
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from tests.cases import assert_close
from tests.contract.reference import COLUMNS, column, differentiated, reference
from tests.contract.subjects import Subject, subjects

DEVICES = 8  # as many rows, features and units, each on a device of its own


@functools.cache
def mesh(kind: AxisType):
    return jax.make_mesh((DEVICES,), ("d",), axis_types=(kind,))


def compare(result, known):
    assert_close(result, (known.outputs, known.gradient), 1e-11)


@column("Eight devices", "shard_map")
def shard_map(s):
    """`jax.shard_map` over the rows of state and input; outputs and gradient."""
    row = P("d")
    run = jax.shard_map(s.call, mesh=mesh(AxisType.Auto), in_specs=(P(), row, row), out_specs=row)
    known = reference(s, rows=True, batch=DEVICES)
    result = jax.jit(differentiated(run))(*known.args)
    assert all(len(leaf.sharding.device_set) == DEVICES for leaf in jax.tree.leaves(result[0]))
    compare(result, known)


@column("Eight devices", "explicit mesh")
def explicit_mesh(s):
    """A mesh of explicit axes (`jax.set_mesh`), state and input split by rows: so is all output."""
    known = reference(s, batch=DEVICES)
    params, *rows = known.args
    explicit = mesh(AxisType.Explicit)
    with jax.set_mesh(explicit):
        rows = jax.device_put(rows, NamedSharding(explicit, P("d")))
        params = jax.device_put(params, NamedSharding(explicit, P()))
        result = jax.jit(s.call)(params, *rows)
    assert all(leaf.sharding.spec[0] == "d" for leaf in jax.tree.leaves(result))
    assert_close(result, known.outputs, 1e-11)


@column("Eight devices", "units split")
def units_split(s):
    """Parameters and state split by units (`NamedSharding`) under `jax.jit`; outputs, gradient."""
    known = reference(s, batch=DEVICES)

    def place(leaf):
        last = "d" if leaf.shape[-1] % DEVICES == 0 else None
        spec = P(*[None] * (leaf.ndim - 1), last)
        return jax.device_put(leaf, NamedSharding(mesh(AxisType.Auto), spec))

    params, state = jax.tree.map(place, known.args[:2])
    assert not any(leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(state)[-1:])
    x = jax.device_put(known.args[2], NamedSharding(mesh(AxisType.Auto), P()))
    compare(jax.jit(differentiated(s.call))(params, state, x), known)


def outcome(function: Callable[[Subject], None], subject: Subject) -> str:
    """The error of trying it, or an empty text."""
    try:
        function(subject)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def main() -> None:
    """Tries what is asked for on standard input."""
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_disable_most_optimizations", True)
    assert len(jax.devices()) == DEVICES
    rows, columns = subjects(DEVICES, DEVICES), COLUMNS["Eight devices"]
    pairs = json.loads(sys.stdin.read())
    print(json.dumps([outcome(columns[title], rows[name]) for name, title in pairs]))


if __name__ == "__main__":
    from tests.contract import devices  # not __main__: the columns are registered there

    devices.main()
