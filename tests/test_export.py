"""`jax.export` of programs that take and return jrnn's types, read by another process."""

import subprocess
import sys
import textwrap

import jax
import numpy as np
from jax import export

import jrnn
from jrnn import nd4j

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


def test_every_public_named_tuple_can_be_written():
    """Those of jrnn and of jrnn.nd4j: back comes the type with its fields."""
    kinds = [getattr(package, name) for package in (jrnn, nd4j) for name in package.__all__]
    kinds = {kind for kind in kinds if isinstance(kind, type) and issubclass(kind, tuple)}
    assert {jrnn.LSTMParams, jrnn.GRUState, nd4j.SRUWeights, nd4j.HiddenAndCell} <= kinds
    for kind in kinds:
        given = kind(*(np.full((2,), k, np.float32) for k in range(len(kind._fields))))
        program = export.export(jax.jit(lambda tree: tree))(given)
        back = export.deserialize(program.serialize()).call(given)
        assert type(back) is kind
        assert jax.tree.all(jax.tree.map(np.array_equal, back, given))
