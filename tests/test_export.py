"""`jax.export` of programs that take and return jrnn's types, read by another process."""

import functools
import importlib
import pkgutil
import subprocess
import sys
import textwrap
from collections import namedtuple
from pathlib import Path

import jax
import numpy as np
import pytest
from jax import export

import jrnn
from jrnn import nd4j
from jrnn.cells.dropout import DropoutKeys
from jrnn.exported import register
from jrnn.model.stream_layers import SeenInputs

DATA = Path(__file__).parent / "data"

READ = """
    import sys
    import jax, numpy as np
    from jax import export
    import jrnn
    read = export.deserialize(open(sys.argv[1], "rb").read())
    ones = [jax.numpy.ones(one.shape, one.dtype) for one in read.in_avals]
    args, _ = jax.tree.unflatten(read.in_tree, ones)
    params, state, x = args
    state, ys = read.call(jrnn.LSTMParams(*params), jrnn.LSTMState(*state), x)
    assert isinstance(state, jrnn.LSTMState)
    np.savez(sys.argv[2], hidden=state.hidden, ys=ys)
"""


def test_another_process_reads_and_runs_it(tmp_path):
    cell = jrnn.LSTMCell()
    params = jax.tree.map(np.ones_like, cell.init(jax.random.key(0), 3, 4))
    state = jrnn.LSTMState(np.ones((2, 4), np.float32), np.ones((2, 4), np.float32))
    x = np.ones((2, 5, 3), np.float32)

    def run(params, state, x):
        return jrnn.rnn(cell, params, x, initial_state=state)

    written = export.export(jax.jit(run))(params, state, x).serialize()
    (tmp_path / "program").write_bytes(written)
    command = [sys.executable, "-c", textwrap.dedent(READ)]
    subprocess.run([*command, tmp_path / "program", tmp_path / "results.npz"], check=True)
    results = np.load(tmp_path / "results.npz")
    wanted, ys = run(params, state, x)
    np.testing.assert_allclose(results["hidden"], wanted.hidden, rtol=1e-6)
    np.testing.assert_allclose(results["ys"], ys, rtol=1e-6)


def found_named_tuples():
    """Those that the packages define which have arrays in parameters, states and results."""
    for package in ("cells", "layers", "model", "nd4j", "scan"):
        folder = importlib.import_module(f"jrnn.{package}")
        for found in pkgutil.iter_modules(folder.__path__, f"{folder.__name__}."):
            for value in vars(importlib.import_module(found.name)).values():
                if hasattr(value, "_fields") and value.__module__ == found.name:
                    yield value


def exported(run, *args):
    """What a program gives back that has been written and read."""
    return export.deserialize(export.export(jax.jit(run))(*args).serialize()).call(*args)


def test_every_named_tuple_of_arrays_can_be_written():
    """Back comes the type with its fields; all others are known for what no program returns."""
    known = set(found_named_tuples())
    assert {jrnn.LSTMParams, jrnn.GRUState, nd4j.SRUWeights, SeenInputs, DropoutKeys} <= known
    public = {getattr(package, name) for package in (jrnn, nd4j) for name in package.__all__}
    assert {kind for kind in public if hasattr(kind, "_fields")} <= known
    others = set()
    for kind in known:
        given = kind(*(np.full((2,), k, np.float32) for k in range(len(kind._fields))))
        try:
            back = exported(lambda tree: tree, given)
        except ValueError:
            others.add(kind.__name__)
            continue
        assert type(back) is kind
        assert jax.tree.all(jax.tree.map(np.array_equal, back, given))
    loop = {"Blocks", "Direction", "Plan", "_Window"}
    graph = {"Input", "InputRange", "Node", "Ref", "Result", "Slice", "Steps", "Training"}
    assert others == loop | graph


@pytest.mark.parametrize(
    "cell",
    [
        jrnn.ZoneoutCell(jrnn.DropoutCell(jrnn.LSTMCell(), 0.3, 0.3), 0.4, 0.3),
        jrnn.DropoutCell(jrnn.GRUCell(), 0.3, 0.3, per_step=True),
    ],
    ids=["for a sequence", "per step"],
)
def test_what_was_drawn_goes_into_a_program(cell):
    xs = jax.random.normal(jax.random.key(1), (2, 5, 3))
    params = cell.init(jax.random.key(0), 3, 4)
    drawn = jrnn.stream(cell).draw(jax.random.key(2), params, xs[:, 0])
    state, ys = exported(functools.partial(jrnn.rnn, cell), drawn, xs)
    wanted = jrnn.rnn(cell, drawn, xs)
    assert isinstance(state, jrnn.ClockedState)
    jax.tree.map(np.testing.assert_array_equal, (state, ys), wanted)


@pytest.mark.parametrize(
    "file", ["keras-3.15-jax/embed_mask_lstm_dense", "tf.keras-2.14/sync_batch"]
)
def test_loaded_models_and_their_streams(file):
    """The model's program gives what Keras gave, and a step's what `Stream.step` gives."""
    path = DATA / f"{file}.keras"
    model, params = jrnn.load_keras(path)
    with np.load(path.with_suffix(".npz")) as record:
        x, wanted = record["x0"], record["y0"]
    np.testing.assert_allclose(exported(model.apply, params, x), wanted, 1e-5, 1e-5)
    stream = jrnn.stream(model)
    state = stream.initial_state(params, x[:, 0])
    wanted = stream.step(params, state, x[:, 0])
    actual = exported(stream.step, params, state, x[:, 0])
    jax.tree.map(lambda *both: np.testing.assert_allclose(*both, 1e-5, 1e-6), actual, wanted)


def test_two_types_under_one_name():
    """An error, and not one type the fewer; a package that is loaded again is none."""
    first, second = (namedtuple("Seen", "inputs", module=module) for module in ("one", "other"))
    register("tests", [first, 3, int])
    register("tests", [first])
    with pytest.raises(ValueError, match=r"serialized_name `tests\.Seen`"):
        register("tests", [second])
    importlib.reload(jrnn)
