"""The orders in which Keras 3 holds the layers of a functional model, and in which it calls them.

Both layouts of weights go by the first: the k-th layer of a class, the k-th layer with weights.
Keras works them out anew from the graph whenever it makes a model, whatever the order in the file.
"""

from collections.abc import Mapping, Sequence

from jrnn.model.graph import Model, Node, Ref
from jrnn.model.multi_head import MultiHeadAttention

Call = tuple[str, int]  # a layer's name, and the number of its call
Needs = Mapping[Call, Sequence[Call]]  # the calls that made what each call is given


def in_keras_order(model: Model) -> list[str]:
    """Returns the names of a functional model's layers as Keras 3 orders them.

    By depth, the number of calls between a layer and the outputs; those of one depth as they are
    met going back from the outputs.

    Source: ``keras.src.ops.function.map_graph``.
    """
    needs: dict[Call, list[Call]] = {
        (node.layer.name, node.number): [(ref.layer, ref.node) for ref in _tensors(node)]
        for node in model.nodes
    }
    calls, met = _walk(needs, model.outputs)
    _, depths = _depths(needs, calls)
    inputs = {spec.name for spec in model.inputs}
    names = sorted(depths, key=lambda name: (-depths[name], met[name]))
    return [name for name in names if name not in inputs]


def attending(node: Node) -> dict[str, Ref]:
    """Returns the tensors that a call of MultiHeadAttention gets by keyword: all but its query."""
    layer = node.layer
    assert isinstance(layer, MultiHeadAttention), "asked by those who know"
    given = dict(zip(layer.arguments[1:], node.inputs[1:], strict=True))
    # One mask more than inputs is the query's, which the call gets without regarding it.
    masks = zip((*layer.arguments, "query"), node.masks, strict=False)
    return given | {f"{name}_mask": ref for name, ref in masks if ref is not None}


def _tensors(node: Node) -> list[Ref]:
    """Returns what a call depends on, in the order in which Keras 3 goes through it."""
    if isinstance(node.layer, MultiHeadAttention):
        return [node.inputs[0], *dict(sorted(attending(node).items())).values()]
    return [ref for ref in (*node.inputs, *node.masks) if ref is not None]


def calls_in_keras_order(needs: Needs, outputs: Sequence[Ref]) -> list[Call]:
    """Returns the calls as Keras 3 makes them one after the other.

    By depth; those of one depth as they are met going back from what was found last.

    Source: ``keras.src.ops.function.Function._run_through_graph``.
    """
    calls, _ = _walk(needs, outputs)
    depths, _ = _depths(needs, calls)
    return sorted(depths, key=lambda call: -depths[call])


def _depths(needs: Needs, calls: Sequence[Call]) -> tuple[dict[Call, int], dict[str, int]]:
    """Returns the depths of calls, in the order in which they are met, and of layers."""
    of_calls: dict[Call, int] = {}
    of_layers: dict[str, int] = {}
    for call in reversed(calls):
        depth = max(of_calls.setdefault(call, 0), of_layers.get(call[0], 0))
        of_calls[call] = of_layers[call[0]] = depth
        for source in needs.get(call, ()):
            of_calls[source] = max(depth + 1, of_calls.get(source, 0))
    return of_calls, of_layers


def _walk(needs: Needs, outputs: Sequence[Ref]) -> tuple[list[Call], dict[str, int]]:
    """Returns the calls, each after those it needs, and when each layer was first met."""
    calls: list[Call] = []
    met: dict[str, int] = {}
    started: set[Call] = set()
    waiting = [((ref.layer, ref.node), False) for ref in reversed(outputs)]
    while waiting:
        call, is_done = waiting.pop()
        if is_done:
            calls.append(call)
            continue
        if call in started:
            continue
        started.add(call)
        met.setdefault(call[0], len(met))
        waiting.append((call, True))
        waiting += [(source, False) for source in reversed(needs.get(call, ()))]
    return calls, met
