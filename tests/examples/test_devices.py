"""The same training on one device, on eight, and by several processes."""

import json
import shutil
import signal
import time

import jax
import numpy as np
import pytest
from flax import nnx

from jrnn.examples.digits import Digits
from jrnn.examples.training import train
from tests.devices import run_on_devices
from tests.examples.processes import finish, losses, start_joined

SIZES = {"units": 16, "batch_size": 16}
STEPS = 20
ARGUMENTS = ["digits", "--units", 16, "--batch-size", 16, "--save-every", 5]

EIGHT = """
import json, pathlib, sys
import jax
from benchmarks.communication import volumes
from jrnn.examples.devices import DATA, make_mesh, place
from jrnn.examples.digits import Digits
from jrnn.examples.program import compile_task
from jrnn.examples.training import train

task = Digits(**json.loads(sys.argv[1]))
told = {}
for hidden in (1, 4):
    outcome = train(task, f"{sys.argv[2]}/{hidden}", steps=int(sys.argv[3]), hidden_shards=hidden)
    mesh = make_mesh(task, hidden)
    with jax.set_mesh(mesh):
        program = compile_task(task, 0, mesh)
        state = program.start()
        batch = place(task.batch(0, 1), mesh, DATA)
        text = program.step.lower(state, batch).compile().as_text()
    shards = {
        jax.tree_util.keystr(path): [leaf.shape, leaf.addressable_shards[0].data.shape]
        for path, leaf in jax.tree.leaves_with_path(state)
    }
    losses = [row.loss for row in outcome.rows]
    told[hidden] = {"losses": losses, "shards": shards, "sent": volumes(text)}
pathlib.Path(sys.argv[2], "told.json").write_text(json.dumps(told))
print("done")
"""


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The losses of one device, in one process."""
    outcome = train(Digits(**SIZES), tmp_path_factory.mktemp("alone"), steps=STEPS)
    return [row.loss for row in outcome.rows]


def assert_same(got, alone):
    assert len(got) == len(alone) == STEPS
    np.testing.assert_allclose(got, alone, rtol=0, atol=1e-6)


@pytest.mark.slow
def test_eight_devices(alone, tmp_path):
    run_on_devices(8, EIGHT, json.dumps(SIZES), tmp_path, STEPS)
    for hidden, told in json.loads((tmp_path / "told.json").read_text()).items():
        assert_same(told["losses"], alone)
        kernels = {
            name: shapes for name, shapes in told["shards"].items() if "recurrent_kernel" in name
        }
        assert len(kernels) == 6  # two directions, each with Adam's two moments
        assert set(map(str, kernels.values())) == {str([[16, 48], [16, 48 // int(hidden)]])}
        if hidden == "1":  # docs/scaling.md: gradients and the loss are added up once
            model = Digits(**SIZES).model(nnx.Rngs(0))
            parameters = sum(leaf.size for leaf in jax.tree.leaves(nnx.state(model, nnx.Param)))
            assert told["sent"] == {"all-reduce": 4 * (parameters + 1)}
        else:
            assert {"all-gather", "all-reduce"} <= told["sent"].keys()


def test_processes_and_restore_on_another_count(alone, tmp_path):
    two = tmp_path / "two"
    part = [*ARGUMENTS, "--hidden-shards", 2, "--steps", 10, "--output", two]
    finish(*start_joined(*part, count=2, devices=2))
    np.testing.assert_allclose(losses(two), alone[:10], rtol=0, atol=1e-6)
    kernels = list((two / "checkpoints" / "10" / "state").glob("ocdbt.process_*"))
    assert len(kernels) == 2  # each process wrote its own

    one, four = tmp_path / "one", tmp_path / "four"
    for other in (one, four):
        shutil.copytree(two, other)
    outcome = train(Digits(**SIZES), one, steps=STEPS)
    assert outcome.resumed == 10
    assert_same([row.loss for row in outcome.rows], alone)
    rest = [*ARGUMENTS, "--steps", STEPS, "--output", four]
    finish(*start_joined(*rest, count=4, devices=1))
    assert_same(losses(four), alone)


@pytest.mark.slow  # JAX takes up to a minute to notice
@pytest.mark.parametrize("number", [0, 1])
def test_an_interrupted_process_ends_the_other(tmp_path, number):
    arguments = [*ARGUMENTS, "--steps", 10_000, "--output", tmp_path]
    processes = start_joined(*arguments, count=2, devices=1)
    while len(losses(tmp_path)) < 10:
        assert all(process.poll() is None for process in processes)
        time.sleep(0.1)
    processes[number].send_signal(signal.SIGINT)
    said = [process.communicate(timeout=200)[0] for process in processes]
    assert processes[number].returncode == 2
    assert "jrnn: error: interrupted" in said[number]
    assert processes[1 - number].returncode != 0


def test_what_cannot_be_divided(tmp_path):
    with pytest.raises(ValueError, match="1 devices cannot be split into 2"):
        train(Digits(**SIZES), tmp_path, steps=1, hidden_shards=2)
