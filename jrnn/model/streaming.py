"""Models as streams: a graph of layers that run on some steps at a time."""

import collections
import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jrnn.layers.streaming import Stream, check_one_array
from jrnn.model.graph import Input, Model, Ref
from jrnn.model.layer import Layer, Result
from jrnn.model.stream_layers import AfterEachStep, OneOfSeveralCalls, Streamed
from jrnn.model.stream_rules import Found, Kind, RefusedError, Steps, streamed_layer
from jrnn.model.walk import walk


class ModelStream(Stream):
    """A loaded model, as a stream."""

    @functools.cached_property
    def _model(self) -> Model:
        return streamed(self.causal, [_input_kind(spec) for spec in self.causal.inputs])[0]

    def _check(self) -> None:
        _ = self._model

    def _batch_ndim(self, xs: Any, steps: int) -> int:
        model: Model = self.causal
        if len(model.inputs) == 1:
            check_one_array(xs)
        x, spec = model.ordered((xs,))[0], model.inputs[0]
        features = 1 if spec.shape is None else len(spec.shape) - 2
        axes = x.ndim - features - steps
        if axes < 0:
            raise ValueError(
                f"jrnn.stream: x has shape {x.shape}, but samples of model {model.name!r} have "
                f"{features} axes of features; step takes one sample, chunk several"
            )
        return axes

    def _fresh(self, params: Any, x: Any) -> Any:
        axis = self._batch_ndim(x, 0)
        steps = jax.tree.map(lambda a: jnp.expand_dims(a, axis), x)
        return self._fresh_before(params, steps, axis)

    def _fresh_before(self, params: Any, xs: Any, axis: int) -> Any:
        """Returns the state before the first of some steps."""
        none = jax.tree.map(lambda a: jax.lax.slice_in_dim(a, 0, 0, axis=axis), xs)
        return self._run(params, None, none, None)[0]

    def _checked(self, state: Any, params: Any, xs: Any, axis: int) -> Any:
        """Returns a state in the dtypes of the model's own, if it is made of the same arrays."""
        fresh = jax.eval_shape(functools.partial(self._fresh_before, axis=axis), params, xs)
        got, needed = (jax.tree.map(jnp.shape, tree) for tree in (state, fresh))
        if jax.tree.structure(state) != jax.tree.structure(fresh) or got != needed:
            raise ValueError(
                f"jrnn.stream: state of model {self.causal.name!r} has arrays of shapes {got}, but "
                f"{needed} is needed; hand over what initial_state or the last call returned"
            )
        return jax.tree.map(lambda leaf, like: leaf.astype(like.dtype), state, fresh)

    def _run(self, params: Any, state: Any, xs: Any, mask: jax.Array | None) -> tuple[Any, Any]:
        model = self._model
        axes = self._batch_ndim(xs, 1)
        arrays = model.ordered((xs,))
        batch = arrays[0].shape[:axes]
        if state is not None:
            state = self._checked(state, params, xs, axes)
        if axes != 1:  # Keras has one
            arrays = [x.reshape(math.prod(batch), *x.shape[axes:]) for x in arrays]
            mask = None if mask is None else mask.reshape(math.prod(batch), *mask.shape[axes:])
        arrays = model.checked(arrays)
        result = model.train(params, arrays, [mask] * len(arrays), state, None)
        outputs = result.outputs
        if axes != 1:
            outputs = [y.reshape(*batch, *y.shape[1:]) for y in outputs]
        return result.state, model.arranged(tuple(outputs))


def streamed(model: Model, inputs: Sequence[Kind], where: str = "") -> tuple[Model, list[Kind]]:
    """Returns a model with layers that run on some steps at a time, and what its outputs are.

    Raises:
        ValueError: If a layer sees later steps.
    """
    kinds: dict[tuple[str, int], tuple[Kind, ...]] = {
        (spec.name, 0): (kind,) for spec, kind in zip(model.inputs, inputs, strict=True)
    }

    def kind_of(ref: Ref) -> Kind:
        found = kinds[ref.layer, ref.node]
        return found[min(ref.tensor, len(found) - 1)]

    calls = collections.Counter(node.layer.name for node in model.nodes)
    nodes = []
    for node in model.nodes:
        layer, path = node.layer, f"{where}{node.layer.name}"
        given = [kind_of(ref) for ref in (*node.inputs, *filter(None, node.masks))]
        try:
            running, found = _streamed_layer(layer, given, len(node.inputs), f"{path}/")
            if calls[layer.name] > 1 and running is not layer:
                if any(getattr(one, "stateful", False) for one in walk(layer)):
                    raise RefusedError("is stateful and called more than once")
                running = OneOfSeveralCalls.of(running, number=node.number)
        except RefusedError as error:
            raise ValueError(
                f"jrnn.stream: layer {path!r} ({layer.kind}) {error}; run model.apply on whole "
                "sequences"
            ) from None
        kinds[layer.name, node.number] = found
        nodes.append(node._replace(layer=running))
    return dataclasses.replace(model, nodes=tuple(nodes)), [kind_of(ref) for ref in model.outputs]


def _input_kind(spec: Input) -> Kind:
    if spec.shape is None:
        return Steps(None)
    if len(spec.shape) < 2:
        raise ValueError(
            f"jrnn.stream: input {spec.name!r} has shape {spec.shape}, without an axis of steps"
        )
    return Steps(len(spec.shape), spec.shape[1])


def _streamed_layer(layer: Layer, given: Sequence[Kind], inputs: int, where: str) -> Found:
    """Returns how a layer runs, given its inputs and then masks handed over by name."""
    steps = [kind for kind in given if kind is not None]
    if not steps:
        if any(getattr(one, "stateful", False) for one in walk(layer)):
            raise RefusedError("is stateful after the end of a sequence")
        return AfterEachStep.of(layer), (None,)
    if len(steps) < len(given):
        raise RefusedError("joins every step with what is known after the last one alone")
    if isinstance(layer, Model):
        model, kinds = streamed(layer, steps[:inputs], where)
        return model, tuple(kinds)
    running, found = streamed_layer(layer, steps[:inputs])
    if all(kind.ndim is not None for kind in steps[:inputs]):
        return running, found
    return RuledWhenRun.of(layer, given=tuple(steps[:inputs])), found


@dataclasses.dataclass(frozen=True, kw_only=True)
class RuledWhenRun(Streamed):
    """A layer whose inputs tell how many axes they have, and so how it streams, when they come.

    Attributes:
        given: What is known of the inputs before.
    """

    given: tuple[Steps, ...]

    def run(self, params, inputs, masks, state=None, training=None) -> Result:
        """Returns what the layer's own stream does; raises ``ValueError`` if it has none."""
        known = [kind.of(x.ndim) for kind, x in zip(self.given, inputs, strict=True)]
        try:
            running = streamed_layer(self.layer, known)[0]
        except RefusedError as error:
            raise ValueError(
                f"jrnn.stream: it {error}; run model.apply on whole sequences"
            ) from None
        return running.run(params, inputs, masks, state, training)
