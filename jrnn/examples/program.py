"""A task as compiled functions of its whole state: parameters, optimizer, keys of dropout."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jrnn.examples.task import Task


class Program(NamedTuple):
    """What a run calls.

    Attributes:
        abstract: Shapes, dtypes and shardings of the state.
        start: ``() -> state``.
        step: ``(state, batch) -> (state, loss)``; the state given is used up.
        measure: ``(state, batch) -> metric``.
        model: ``state -> model``, as it predicts, whole on one device of each process.
    """

    abstract: Any
    start: Callable[[], Any]
    step: Callable[[Any, Any], tuple[Any, jax.Array]]
    measure: Callable[[Any, Any], jax.Array]
    model: Callable[[Any], Any]


def compile_task(task: Task, seed: int, mesh: Mesh) -> Program:
    """Returns the task's program; every array lies as the model's metadata says, on the mesh."""

    def build() -> tuple[nnx.Module, nnx.Optimizer]:
        model = task.model(nnx.Rngs(seed))
        return model, nnx.Optimizer(model, task.optimizer(), wrt=nnx.Param)

    graph, abstract = nnx.get_abstract_model(build, mesh)
    shardings = jax.tree.map(lambda leaf: leaf.sharding, abstract)
    everywhere = NamedSharding(mesh, PartitionSpec())

    @partial(jax.jit, out_shardings=shardings)
    def start() -> Any:
        return nnx.state(build())

    @partial(jax.jit, donate_argnums=0, out_shardings=(shardings, everywhere))
    def step(state: Any, batch: Any) -> tuple[Any, jax.Array]:
        model, optimizer = nnx.merge(graph, state)
        loss, gradients = nnx.value_and_grad(task.loss)(model, batch)
        optimizer.update(model, gradients)
        return nnx.state((model, optimizer)), loss

    def predictor(state: Any) -> Any:
        model, _ = nnx.merge(graph, state)
        model.eval()
        return model

    @partial(jax.jit, out_shardings=everywhere)
    def gather(state: Any) -> Any:
        return state

    def whole(state: Any) -> Any:
        return predictor(jax.tree.map(lambda leaf: leaf.addressable_data(0), gather(state)))

    @partial(jax.jit, out_shardings=everywhere)
    def measure(state: Any, batch: Any) -> jax.Array:
        return task.measure(predictor(state), batch)

    return Program(abstract, start, step, measure, whole)
