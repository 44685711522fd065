"""The order in which Keras 3 holds the layers of a functional model.

Both layouts of weights go by it: the k-th layer of a class, the k-th layer with weights. Keras
works it out anew from the graph whenever it makes a model, whatever the order in the file.
"""

from collections.abc import Mapping, Sequence

from jrnn.model.graph import Model, Node, Ref
from jrnn.model.multi_head import MultiHeadAttention

Call = tuple[str, int]  # a layer's name, and the number of its call


def in_keras_order(model: Model) -> list[str]:
    """Returns the names of a functional model's layers as Keras 3 orders them.

    By depth, the number of calls between a layer and the outputs; those of one depth as they are
    met going back from the outputs.

    Source: ``keras.src.ops.function.map_graph``.
    """
    parents: dict[Call, list[Call]] = {
        (node.layer.name, node.number): [(ref.layer, ref.node) for ref in _tensors(node)]
        for node in model.nodes
    }
    calls, met = _walk(parents, model.outputs)
    depths: dict[str, int] = {}
    of_calls: dict[Call, int] = {}
    for call in reversed(calls):
        depth = max(of_calls.get(call, 0), depths.get(call[0], 0))
        depths[call[0]] = depth
        for parent in parents.get(call, ()):
            of_calls[parent] = max(depth + 1, of_calls.get(parent, 0))
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


def _walk(
    parents: Mapping[Call, Sequence[Call]], outputs: Sequence[Ref]
) -> tuple[list[Call], dict[str, int]]:
    """Returns the calls, each after those it needs, and when each layer was first met."""
    calls: list[Call] = []
    met: dict[str, int] = {}
    finished: set[Call] = set()
    waiting = [((ref.layer, ref.node), False) for ref in reversed(outputs)]
    while waiting:
        call, is_done = waiting.pop()
        if call in finished:
            continue
        if is_done:
            finished.add(call)
            calls.append(call)
            continue
        met.setdefault(call[0], len(met))
        waiting.append((call, True))
        waiting += [(parent, False) for parent in reversed(parents.get(call, ()))]
    return calls, met
