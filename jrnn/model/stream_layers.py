"""Layers as a stream runs them: on some steps at a time, with a state between."""

import dataclasses
import math
from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp

from jrnn.cells.base import Cell
from jrnn.cells.stacked import StackedCell
from jrnn.layers.recurrent import rnn
from jrnn.model.basic import Reshape
from jrnn.model.convolution import ConvolutionLayer
from jrnn.model.custom import CustomCell, CustomRecurrent
from jrnn.model.layer import Layer, Result
from jrnn.model.pooling import GlobalPooling, Mode
from jrnn.model.recurrent import Recurrent

# In a stream a layer's tensors are of two kinds: [B, T, ...], as in the whole model, for what has a
# value at every step; and, for what the whole model has once, such as a last output [B, ...], the
# values that it has after each step, again [B, T, ...].


@dataclasses.dataclass(frozen=True, kw_only=True)
class Streamed(Layer):
    """A layer run in another way.

    Attributes:
        layer: The layer.
    """

    layer: Any

    @classmethod
    def of(cls, layer: Layer, **choices: Any) -> Self:
        """Returns it with what a model reads of the layer."""
        read = {name: getattr(layer, name) for name in ("name", "kind", "dtype", "cast_ends_mask")}
        return cls(layer=layer, **read, **choices)

    def cast_inputs(self, inputs):
        """Returns the inputs in the layer's dtype."""
        return self.layer.cast_inputs(inputs)

    def passed_masks(self, masks, count):
        """Returns what becomes of the inputs' masks."""
        return self.layer.passed_masks(masks, count)

    def run(self, params, inputs, masks, state=None, training=None) -> Result:
        """Returns the outputs for some steps, and the state after them."""
        raise NotImplementedError(f"{type(self).__name__}.run")


class AfterEachStep(Streamed):
    """A layer of what the whole model has once, run for each step's value of it."""

    def run(self, params, inputs, masks, state=None, training=None) -> Result:
        """Returns ``[layer.run(inputs[:, t]) for t in range(T)]``."""
        unmasked = []

        def one(values, masks):
            result = self.layer.run(params, values, masks)
            ended = [k for k, x in enumerate(values) if any(x is y for y in result.unmasked)]
            unmasked[:] = ended
            return result.outputs, result.masks

        outputs, new_masks = jax.vmap(one, in_axes=1, out_axes=1)(list(inputs), list(masks))
        return Result(outputs, new_masks, None, tuple(inputs[k] for k in unmasked))


@dataclasses.dataclass(frozen=True, kw_only=True)
class OneOfSeveralCalls(Streamed):
    """One of several calls of a layer, each with a state of its own.

    Attributes:
        number: The call's number.
    """

    number: int

    def run(self, params, inputs, masks, state=None, training=None) -> Result:
        """Returns the outputs, and the states of all calls by number."""
        states = {} if state is None else state
        result = self.layer.run(params, inputs, masks, states.get(self.number))
        if not jax.tree.leaves(result.state):
            return result
        return result._replace(state={**states, self.number: result.state})


class StreamedRecurrent(Streamed):
    """A recurrent layer: of sequences, or its output and states after each step."""

    def run(self, params, inputs, masks, state=None, training=None) -> Result:
        """Returns the output of every step, with ``return_state`` the states, and the last ones."""
        layer: Recurrent = self.layer
        cell, start = layer.cell, "state"  # what a masked step repeats is in the state: h
        if isinstance(layer, CustomRecurrent) and layer.masked_start == "zeros":
            cell = _remembering(cell)
        running = dataclasses.replace(
            layer,
            cell=cell,
            masked_start=start,
            return_sequences=True,
            return_state=False,
            stateful=True,
        )
        [x], own = layer.cast_inputs(inputs), layer.cast(() if params is None else params)
        if state is None:
            state = cell.initial_state(own, cell.project(own, _first_step(x)))
        result = running.run(params, inputs, masks, state)
        outputs = result.outputs
        if layer.return_state:
            outputs = (*outputs, *self._states(running, own, x, masks, state))
        return Result(outputs, self.passed_masks(masks, len(outputs)), result.state)

    def _states(self, layer: Recurrent, params, x, masks, state) -> list[jax.Array]:
        """Returns the state's parts after every step, in Keras's order."""
        mask = layer._steps(masks[0])
        states, _ = rnn(
            layer.cell, params, x, initial_state=state, mask=mask, return_all_states=True
        )
        return jax.tree.leaves(layer._ordered(_forgotten(states)))


def _first_step(x: jax.Array) -> jax.Array:
    """Returns one step, zeros where there is none: padded, it is sharded as the input is."""
    return jnp.pad(x, [(0, int(axis == 1)) for axis in range(x.ndim)])[:, 0]


class Remembered(NamedTuple):
    """A cell's last output, and its state."""

    output: Any
    state: Any


class _Remembering(CustomCell):
    """A cell that has its last output in its state, first of all."""

    def initial_state(self, params: Any, z: Any) -> Remembered:
        """Returns zeros, and the state before the first step."""
        fresh = self.cell.initial_state(params, z)
        return Remembered(jnp.zeros_like(self.cell.step(params, fresh, z)[1]), fresh)

    def step(self, params: Any, state: Remembered, z: Any) -> tuple[Remembered, Any]:
        """Returns the output in the next state, and the output."""
        after, y = self.cell.step(params, state.state, z)
        return Remembered(y, after), y


def _remembering(cell: Cell) -> Cell:
    """Returns a cell that remembers its output, or a stack whose highest does."""
    if isinstance(cell, StackedCell):
        return StackedCell([*cell.cells[:-1], _remembering(cell.cells[-1])])
    return _Remembering(cell.cell) if isinstance(cell, CustomCell) else cell


def _forgotten(state: Any) -> Any:
    """Returns a state without what ``_remembering`` put into it."""
    if isinstance(state, Remembered):
        return state.state
    if type(state) is tuple:  # of a stack
        return tuple(map(_forgotten, state))
    return state


class SeenInputs(NamedTuple):
    """The last inputs of a causal convolution."""

    inputs: jax.Array  # [B, dilation * (K - 1), C]


class StreamedConvolution(Streamed):
    """A causal convolution over steps."""

    def run(self, params, inputs, masks, state=None, training=None) -> Result:
        """Returns a step's output for each input, which sees the inputs before it."""
        layer: ConvolutionLayer = self.layer
        [x] = self.cast_inputs(inputs)
        if x.ndim != 3:
            raise ValueError(f"x has shape {x.shape}, but {self.kind} needs 3 axes")
        steps, reach = x.shape[1], layer.dilation[0] * (layer.kernel_size[0] - 1)

        def around(a, before, after):  # made of the input, and so sharded as it is
            return jnp.pad(a, ((0, 0), (before, after), (0, 0)))

        if state is None:
            state = SeenInputs(around(x[:, :0], reach, 0))
        seen = jnp.concatenate([state.inputs, x], axis=1)
        after = SeenInputs(seen[:, steps:])
        if steps == 0:  # no window has room
            seen = around(seen, 0, 1)
        running = dataclasses.replace(layer, padding="valid")
        result = running.run(params, [seen], masks)
        return result._replace(outputs=(result.outputs[0][:, :steps],), state=after)


class ReshapedSteps(Streamed):
    """A layer that gives each step another shape."""

    def run(self, params, inputs, masks, state=None, training=None) -> Result:
        """Returns the steps reshaped."""
        layer: Reshape = self.layer
        steps, features = inputs[0].shape[1], math.prod(inputs[0].shape[2:])
        sizes = layer.target_shape[1:]
        known = math.prod(size for size in sizes if size != -1)
        sizes = tuple(features // max(known, 1) if size == -1 else size for size in sizes)
        if math.prod(sizes) != features:
            raise ValueError(
                f"it makes {layer.target_shape} of steps with {features} numbers each, which mixes "
                "steps, some of them still to come"
            )
        running = dataclasses.replace(layer, target_shape=(steps, *sizes))
        return running.run(params, inputs, masks)


class Pooled(NamedTuple):
    """What is known of the steps that have been pooled."""

    value: jax.Array  # [B, C]: the sum, or the largest
    steps: jax.Array  # [B, 1]: how many there are


@dataclasses.dataclass(frozen=True)
class _Pool(Cell):
    """A cell: the mean or the largest of all x so far, given pairs (x, whether it counts)."""

    mode: Mode

    def init(self, key: Any, features: Any, units: Any) -> tuple:
        """Returns no parameters."""
        return ()

    def initial_state(self, params: Any, z: Any) -> Pooled:
        """Returns what is known of no step."""
        x, counts = z
        return Pooled(
            jnp.full_like(x, 0 if self.mode == "average" else -math.inf), jnp.zeros_like(counts)
        )

    def project(self, params: Any, xs: Any) -> Any:
        """Returns the pairs."""
        return xs

    def step(self, params: Any, state: Pooled, z: Any) -> tuple[Pooled, jax.Array]:
        """Returns what is known with one more step, and its mean or largest."""
        x, counts = z
        steps = state.steps + counts
        if self.mode == "max":
            largest = jnp.maximum(state.value, x)
            return Pooled(largest, steps), largest
        total = state.value + jnp.where(counts > 0, x, 0)
        return Pooled(total, steps), total / steps.astype(x.dtype)


class StreamedPooling(Streamed):
    """The mean or the largest of all steps so far."""

    def run(self, params, inputs, masks, state=None, training=None) -> Result:
        """Returns [B, T, C], or [B, T, 1, C]."""
        layer: GlobalPooling = self.layer
        [x] = self.cast_inputs(inputs)
        wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        counts = jnp.ones_like(x[..., :1], jnp.int32)
        if layer.uses_mask and masks[0] is not None:
            counts = masks[0][..., None].astype(jnp.int32)
        cell = _Pool(layer.mode)
        if state is None:
            state = cell.initial_state((), (_first_step(wide), _first_step(counts)))
        state, y = rnn(cell, (), (wide, counts), initial_state=state)
        y = y.astype(x.dtype)
        return Result((y[:, :, None] if layer.keepdims else y,), (None,), state)
