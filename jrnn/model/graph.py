"""LAYERS TOGETHER. A graph of layers as one pure function."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jrnn.layers.streaming import Stream
from jrnn.model.layer import Layer, Mask, Result, Training
from jrnn.scan import Checkpoint


class Ref(NamedTuple):
    """One tensor of a graph: the output ``tensor`` of the layer's call number ``node``."""

    layer: str
    node: int = 0
    tensor: int = 0


class Input(NamedTuple):
    """One input of a model."""

    name: str
    shape: tuple[int | None, ...] | None  # with the batch; None where the file does not say
    dtype: str | None


class Node(NamedTuple):
    """One call of a layer."""

    layer: Layer
    number: int
    inputs: tuple[Ref, ...]
    masks: tuple[Ref | None, ...] = ()  # handed over by keyword, in place of the inputs' own
    takes_masks: bool = True  # whether the inputs' own masks count
    passes_masks: bool = False  # whether its outputs have those even if others count, or none


@dataclasses.dataclass(frozen=True, kw_only=True)
class Model(Layer):
    """A graph of layers: the choices alone; ``apply`` is a pure function of its parameters.

    Parameters are a dict from layer name to that layer's parameters; a layer without any has
    no entry.

    Attributes:
        inputs: The inputs in order.
        nodes: The calls, each after those that it needs.
        outputs: The outputs in order.
        layers: All layers in the file's order, each once.
        input_names: Names of the inputs where the model takes a dict; else those of ``inputs``.
        output_names: Names of the outputs where the model returns a dict.
    """

    inputs: tuple[Input, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[Ref, ...]
    layers: tuple[Layer, ...]
    input_names: tuple[str, ...] | None = None
    output_names: tuple[str, ...] | None = None

    def apply(
        self,
        params: Mapping[str, Any],
        *inputs: Any,
        state: Mapping[str, Any] | None = None,
        return_state: bool = False,
        training: bool = False,
        key: jax.Array | None = None,
    ) -> Any:
        """Runs the model and returns what Keras's ``model(x)`` returns.

        Pure: ``jax.jit(model.apply)``, ``jax.grad`` and ``jax.vmap`` work.

        Args:
            params: The parameters, as ``jrnn.load_keras`` returns them.
            *inputs: One array [B, ...] for each of ``model.inputs``, or a dict by their names.
            state: The state that the last call returned, for stateful layers; None resets them.
            return_state: Whether to return ``(state, outputs)``, the state of stateful layers
                by layer name, in place of the outputs alone. In training it also holds the new
                moving statistics of BatchNormalization, which the next call goes on from.
            training: Whether dropout and noise act, and BatchNormalization takes the batch's
                statistics.
            key: The PRNG key of dropout and noise; a call with the same key draws the same.

        Returns:
            The output; a tuple of them if there are several, a dict if the model has named ones.

        Raises:
            ValueError: If the number, the rank or the features of the inputs do not fit; if the
                training of a layer needs a key and there is none, or there is one without it.

        Source: ``keras.Model.__call__``.
        """
        names = {layer.name for layer in self.layers}
        if not isinstance(params, Mapping):
            raise ValueError(
                f"model {self.name!r}: params is a {type(params).__name__}, but a dict by layer "
                "name is needed, as load_keras returns it"
            )
        if state is not None and not (isinstance(state, Mapping) and set(state) <= names):
            held = sorted(state) if isinstance(state, Mapping) else type(state).__name__
            raise ValueError(
                f"model {self.name!r}: state holds {held}, but what the last call returned is "
                f"needed, a dict by names of {sorted(names)}"
            )
        if key is not None and not training:
            raise ValueError(
                f"model {self.name!r}: key is given, but nothing is drawn in inference; give "
                "training=True, or leave the key out"
            )
        arrays, no_masks = self.checked(self.ordered(inputs)), [None] * len(self.inputs)
        result = self.train(params, arrays, no_masks, state, Training(key) if training else None)
        outputs = self.arranged(result.outputs)
        return (result.state, outputs) if return_state else outputs

    def as_stream(self) -> Stream:
        """Returns ``jrnn.stream(model)``."""
        from jrnn.model import streaming  # which stands on this module

        return streaming.ModelStream(self)

    def checkpointed(self, checkpoint: Checkpoint) -> "Model":
        """Returns the model with ``checkpoint``, as ``jrnn.rnn`` has it, on its recurrent layers.

        Outputs and gradients are the same; a gradient keeps fewer states.

        Raises:
            ValueError: If it is neither None nor "sqrt" nor a positive number of steps.
        """
        from jrnn.model import walk  # which stands on this module

        return walk.checkpointed(self, checkpoint)

    def penalty(self, params: Mapping[str, Any], *inputs: Any, **options: Any) -> jax.Array:
        """Returns what training adds to the loss: ``jrnn.model.penalties.penalty``."""
        from jrnn.model import penalties  # which stands on this module

        return penalties.penalty(self, params, *inputs, **options)

    def constrain(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the parameters within their constraints: ``jrnn.model.penalties.constrain``."""
        from jrnn.model import penalties

        return penalties.constrain(self, params)

    def train(self, params, inputs, masks, state, training: Training | None) -> Result:
        """Returns the outputs in order, their masks, and the stateful layers' states."""
        results, states = self.trace(params, inputs, masks, state, training)
        found = [(results[ref.layer, ref.node], ref.tensor) for ref in self.outputs]
        outputs = tuple(result.outputs[tensor] for result, tensor in found)
        unmasked = tuple(  # by a layer in here
            value
            for spec, value, mask in zip(self.inputs, inputs, masks, strict=True)
            if mask is not None and results[spec.name, 0].masks[0] is None
        )
        output_masks = tuple(result.masks[tensor] for result, tensor in found)
        return Result(outputs, output_masks, states, unmasked)

    def trace(
        self,
        params: Any,
        inputs: Sequence[Any],
        masks: Sequence[Mask],
        state: Any = None,
        training: Training | None = None,
    ) -> tuple[dict[tuple[str, int], Result], dict[str, Any]]:
        """Returns every call's result by (layer name, node), and the stateful layers' states."""
        results = {
            (spec.name, 0): Result((value,), (mask,))
            for spec, value, mask in zip(self.inputs, inputs, masks, strict=True)
        }
        params = params or {}  # None where the model is a layer without any
        states: dict[str, Any] = dict(state or {})
        for number, node in enumerate(self.nodes):
            name = node.layer.name
            sources = [(_holding(results, ref), ref.tensor) for ref in node.inputs]
            values = [result.outputs[tensor] for result, tensor in sources]
            own_masks = [result.masks[tensor] for result, tensor in sources]
            if node.layer.cast_ends_mask:
                cast = node.layer.cast_inputs(values)
                triples = zip(own_masks, cast, values, strict=True)
                own_masks = [mask if new is old else None for mask, new, old in triples]
            node_masks: list[Mask] = list(own_masks if node.takes_masks else [None] * len(values))
            for position, ref in enumerate(node.masks[: len(values)]):
                if ref is not None:
                    node_masks[position] = _holding(results, ref).outputs[ref.tensor]
            if isinstance(node.layer, Model):  # it hangs them on the tensors, for later calls, too
                for value, own, mask in zip(values, own_masks, node_masks, strict=True):
                    if own is None and mask is not None:
                        _set_mask(results, value, mask)
            own_training = None if training is None else training.part(number)
            result = self._call(
                node.layer, params.get(name), values, node_masks, states.get(name), own_training
            )
            if node.passes_masks:
                passed = node.layer.passed_masks(own_masks, len(result.outputs))
                result = result._replace(masks=passed)
            for tensor in result.unmasked:
                _set_mask(results, tensor, None)
            results[name, node.number] = result
            if jax.tree.leaves(result.state):
                states[name] = result.state
        for ref in self.outputs:
            _holding(results, ref)
        return results, states

    def _call(
        self,
        layer: Layer,
        params: Any,
        values: list,
        masks: list,
        state: Any,
        training: Training | None,
    ) -> Result:
        try:
            return layer.run(params, values, masks, state, training)
        except AttributeError as error:
            if params is not None:
                raise
            raise ValueError(f"layer {layer.name!r}: params has no entry for it") from error
        except (TypeError, ValueError) as error:  # JAX says TypeError of shapes that do not fit
            raise ValueError(f"layer {layer.name!r}: {error}") from error

    def ordered(self, inputs: Sequence[Any]) -> list[jax.Array]:
        """Returns what ``apply`` takes as inputs as arrays in order."""
        names = list(self.input_names or [spec.name for spec in self.inputs])
        if len(inputs) == 1 and isinstance(inputs[0], Mapping):
            if set(inputs[0]) != set(names):
                raise ValueError(
                    f"model {self.name!r}: inputs are named {sorted(inputs[0])}, but it has {names}"
                )
            inputs = tuple(inputs[0][name] for name in names)
        if len(inputs) == 1 and len(names) > 1 and isinstance(inputs[0], list | tuple):
            inputs = tuple(inputs[0])
        if len(inputs) != len(names):
            raise ValueError(
                f"model {self.name!r}: got {len(inputs)} inputs, but it has {len(names)}: {names}"
            )
        return [jnp.asarray(x) for x in inputs]

    def checked(self, arrays: Sequence[jax.Array]) -> list[jax.Array]:
        """Returns inputs in order, checked against what the model says of them."""
        return [self._check(spec, x) for spec, x in zip(self.inputs, arrays, strict=True)]

    def arranged(self, outputs: tuple[jax.Array, ...]) -> Any:
        """Returns outputs in order as ``apply`` does: one, several in a tuple, or named ones."""
        if self.output_names is not None:
            return dict(zip(self.output_names, outputs, strict=True))
        return outputs[0] if len(outputs) == 1 else outputs

    def _check(self, spec: Input, x: jax.Array) -> jax.Array:
        if spec.shape is not None and x.ndim != len(spec.shape):
            raise ValueError(
                f"model {self.name!r}: input {spec.name!r} has shape {x.shape}, but "
                f"{len(spec.shape)} axes are needed, {spec.shape}"
            )
        floating = spec.dtype is not None and jnp.issubdtype(jnp.dtype(spec.dtype), jnp.floating)
        if floating and not jnp.issubdtype(x.dtype, jnp.floating):
            return x.astype(jnp.float32)
        return x


def _set_mask(results: dict[tuple[str, int], Result], tensor: Any, mask: Mask) -> None:
    """Gives a tensor a mask, under whatever name a layer passed it on as it is."""
    for key, held in results.items():
        if any(output is tensor for output in held.outputs):
            pairs = zip(held.outputs, held.masks, strict=True)
            masks = tuple(mask if output is tensor else own for output, own in pairs)
            results[key] = held._replace(masks=masks)


def _holding(results: Mapping[tuple[str, int], Result], ref: Ref) -> Result:
    """Returns the result that holds a tensor, checked to hold it."""
    result = results[ref.layer, ref.node]
    if ref.tensor >= len(result.outputs):
        raise ValueError(
            f"output {ref.tensor} of {ref.layer!r} is used, but it has {len(result.outputs)}"
        )
    return result
