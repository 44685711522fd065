"""How much work a model is: a small config can ask for any amount of it."""

from jrnn.keras_loader.errors import KerasFileError
from jrnn.model.basic import TimeDistributed
from jrnn.model.graph import Model
from jrnn.model.layer import Layer
from jrnn.model.stacked import StackedRecurrent

# One call takes 10 kB and 0.4 ms to be traced, one input of it 1.3 kB.
_MOST_CALLS = 4_096
_MOST_INPUTS = 16_384


def check_size(model: Model) -> None:
    """Refuses a model of too many calls: each that is called twice doubles all that is inside.

    Raises:
        KerasFileError: if one run makes more than 4,096 calls of layers, or hands them more than
            16,384 tensors.
    """
    calls, inputs = _work(model, {})
    if calls > _MOST_CALLS or inputs > _MOST_INPUTS:
        raise KerasFileError(
            f"the model makes {_about(calls)} calls of layers with {_about(inputs)} inputs, but at "
            f"most {_MOST_CALLS} and {_MOST_INPUTS} are read"
        )


def _work(layer: Layer, known: dict[int, tuple[int, int]]) -> tuple[int, int]:
    """The calls and inputs of one call of a layer; ``known`` holds those of models by identity."""
    if isinstance(layer, TimeDistributed):
        return _work(layer.layer, known)
    if isinstance(layer, StackedRecurrent):
        return len(layer.cells), 0
    if not isinstance(layer, Model):
        return 1, 0
    if id(layer) not in known:
        inside = [_work(node.layer, known) for node in layer.nodes]
        inputs = sum(len(node.inputs) + len(node.masks) for node in layer.nodes)
        known[id(layer)] = (
            sum(calls for calls, _ in inside),
            inputs + len(layer.outputs) + sum(more for _, more in inside),
        )
    return known[id(layer)]


def _about(count: int) -> str:
    return str(count) if count < 10**9 else "more than a billion"
