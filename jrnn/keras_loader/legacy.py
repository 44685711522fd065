"""Placing the arrays of the legacy layout: one list of arrays for each layer."""

import dataclasses
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax

from jrnn.cells.conv_lstm import ConvLSTMCell
from jrnn.keras_loader.arrays import expected_arrays, fill, has_arrays, listed, quoted
from jrnn.keras_loader.errors import KerasFileError
from jrnn.keras_loader.keras1 import gates_together
from jrnn.keras_loader.more_arrays import frozen_arrays
from jrnn.keras_loader.read import LegacyWeights, StoredArray
from jrnn.layers.bidirectional import BidirectionalParams
from jrnn.model.basic import TimeDistributed
from jrnn.model.custom import is_custom
from jrnn.model.graph import Model
from jrnn.model.layer import Layer
from jrnn.model.multi_head import MultiHeadAttention
from jrnn.model.recurrent import Bidirectional
from jrnn.model.spectral import SpectralNormalization
from jrnn.model.stacked import StackedRecurrent

Names = tuple[str, ...]
Pieces = Iterator[tuple[StoredArray, ...]]


class Known(NamedTuple):
    """What is known of a list of arrays before they are told apart by their order.

    Attributes:
        own: The arrays that paths tell, by the id of the layer.
        custom: How many arrays each of the caller's layers has.
    """

    own: Mapping[int, Sequence[StoredArray]]
    custom: int = 0


_NOTHING = Known({})


def from_layers(model: Model, weights: LegacyWeights) -> dict[str, Any]:
    """Returns the parameters with stored arrays as leaves; every array finds its place."""
    stored = {name: arrays for name, arrays in weights.layers.items() if arrays}
    owners = [layer for layer in model.layers if has_arrays(layer)]
    if len(owners) != len(stored):  # a layer of the caller's may have no arrays
        sure = [layer.name for layer in owners if has_arrays(layer, surely=True)]
        owners = [layer for layer in owners if layer.name in sure or layer.name in stored]
    if set(stored) != {layer.name for layer in owners}:
        if len(stored) != len(owners):
            raise KerasFileError(
                f"the file holds arrays for {len(stored)} layers {quoted(stored)}, but the model "
                f"needs them for {len(owners)}: {quoted(layer.name for layer in owners)}"
            )
        # As Keras does where names differ: the k-th layer with arrays takes the k-th list.
        pairs = zip(owners, stored.values(), strict=True)
        stored = {layer.name: arrays for layer, arrays in pairs}
    if (weights.keras_version or "").startswith("3."):
        owners = [_flagged(layer, frozen=not layer.trainable) for layer in owners]
    return {layer.name: _from_list(layer, stored[layer.name]) for layer in owners}


def _flagged(layer: Layer, *, frozen: bool) -> Layer:
    """Returns a layer that is trained as Keras 3 sorts its arrays: by what owns each.

    A list starts with what is trained; that what lies between is frozen does not count, and if the
    whole is, nothing is sorted.
    """
    if isinstance(layer, SpectralNormalization):
        return dataclasses.replace(layer, trainable=layer.layer.trainable and not frozen)
    inside = {
        key: _flagged_field(getattr(layer, key), frozen)
        for key in ("forward", "backward", "layer", "layers", "cells")
        if hasattr(layer, key)
    }
    trainable = True if inside else layer.trainable and not frozen
    return dataclasses.replace(layer, trainable=trainable, **inside)


def _flagged_field(held: Any, frozen: bool) -> Any:
    if isinstance(held, tuple):
        return tuple(_flagged(one, frozen=frozen) for one in held)
    return _flagged(held, frozen=frozen)


def _from_list(layer: Layer, arrays: Sequence[StoredArray]) -> Any:
    if isinstance(layer, Bidirectional):
        forward, backward = _directions(layer, arrays)
        return BidirectionalParams(
            _from_list(layer.forward, forward), _from_list(layer.backward, backward)
        )
    if isinstance(layer, TimeDistributed):
        return _from_list(layer.layer, arrays)
    if isinstance(layer, Model | StackedRecurrent):
        return _from_nested(layer, arrays)
    return fill(layer, _kernels_first(arrays))


def _kernels_first(arrays: Sequence[StoredArray]) -> Sequence[StoredArray]:
    """Quantised kernels are not trained and stand last; elsewhere each is before its bias."""
    if not any(array.dtype == "int8" for array in arrays):
        return arrays
    folders = list(dict.fromkeys(array.path.rpartition("/")[0] for array in arrays))
    order = ("kernel", "embeddings", "bias", "kernel_scale", "embeddings_scale")

    def place(array: StoredArray) -> tuple[int, int]:
        folder, _, leaf = array.path.rpartition("/")
        return folders.index(folder), order.index(leaf) if leaf in order else len(order)

    return sorted(arrays, key=place)


def _directions(
    layer: Bidirectional, arrays: Sequence[StoredArray]
) -> tuple[Sequence[StoredArray], Sequence[StoredArray]]:
    """Splits by the names: a frozen forward layer's arrays stand after the backward ones."""
    paths = [array.path.split("/") for array in arrays]
    folders = zip(*(path[:-1] for path in paths), strict=False)
    shared = sum(1 for _ in itertools.takewhile(lambda names: len(set(names)) == 1, folders))
    heads = [path[shared] for path in paths]
    ahead, behind = layer.forward.name, layer.backward.name
    for marks, first, second in (
        (heads, f"forward_{ahead}", f"backward_{behind}"),
        (heads, ahead, behind),  # Keras 3 writes them in full, a custom backward layer's as it is
        ([head.split("_")[0] for head in heads], "forward", "backward"),
    ):
        forward = [array for array, mark in zip(arrays, marks, strict=True) if mark == first]
        backward = [array for array, mark in zip(arrays, marks, strict=True) if mark == second]
        if forward and backward and len(forward) + len(backward) == len(arrays):
            return forward, backward
    custom = any(is_custom(one) for one in _leaves(layer))
    if layer.backward.trainable and not layer.forward.trainable:
        middle = len(arrays) // 2 if custom else sum(_counts(layer.backward, _NOTHING))
        return arrays[middle:], arrays[:middle]
    middle = len(arrays) // 2 if custom else sum(_counts(layer.forward, _NOTHING))
    first, second = arrays[:middle], arrays[middle:]
    if first and second and _counter(first[0]) > _counter(second[0]):
        return second, first  # Keras 2.0 counts "kernel:0", "kernel_1:0"; forward is made first
    return first, second


def _counter(array: StoredArray) -> int:
    found = re.search(r"_(\d+)(?::\d+)?$", array.path)
    return int(found[1]) if found else 0


def _from_nested(layer: Model | StackedRecurrent, arrays: Sequence[StoredArray]) -> Any:
    """One list for many owners: all that is trained, however deep it is, then what is frozen."""
    known = Known(_by_name(layer, arrays))
    gone = {id(array) for own in known.own.values() for array in own}
    pieces = gates_together([array for array in arrays if id(array) not in gone])
    known = known._replace(custom=_count_custom(layer, known, len(pieces)))
    trained, frozen = _counts(layer, known)
    if len(pieces) > trained + frozen:
        rest = [array for piece in pieces[trained + frozen :] for array in piece]
        raise KerasFileError(f"layer {layer.name!r}: arrays are left over: {listed(rest)}")
    return _placed(layer, iter(pieces[:trained]), iter(pieces[trained:]), known)


def _count_custom(layer: Layer, known: Known, pieces: int) -> int:
    """Returns how many arrays each of the caller's layers has: if of one class, equally many."""
    custom = [one for one in _leaves(layer) if is_custom(one)]
    rest = pieces - sum(_counts(layer, known))
    if not custom or rest < 0:  # told by whoever misses or is left with an array
        return 0
    if len({one.kind for one in custom}) > 1 or rest % len(custom):
        kinds = quoted(dict.fromkeys(one.kind for one in custom))
        raise KerasFileError(
            f"layer {layer.name!r}: the file does not say which of its {pieces} arrays belong to "
            f"{kinds}; save the model in the .keras format"
        )
    return rest // len(custom)


def _leaves(layer: Layer) -> list[Layer]:
    inside = _inside(layer)
    return [leaf for one in inside for leaf in _leaves(one)] if inside else [layer]


def _by_name(layer: Layer, arrays: Sequence[StoredArray]) -> Mapping[int, Sequence[StoredArray]]:
    """Finds by their paths the arrays of whatever inside has them at places no config tells.

    Keras before 3 does not write down that one of two directions is frozen, and Keras 3 does not
    say whether a layer was made frozen, which its inner layers then are not.
    """
    wrappers = _wrappers(layer)
    for counted in ("", r"_\d+"):  # Keras counts on where a name was taken when it loaded the model
        own = {}
        for one, known_as in wrappers:
            names = re.compile(f"({'|'.join(map(re.escape, known_as))}){counted}")
            inner = one.forward if isinstance(one, Bidirectional) else one
            of_keras1 = re.compile(f"(for|back)ward_{re.escape(inner.name)}{counted}_[WUb].*")
            own[id(one)] = [
                array
                for array in arrays
                if any(map(names.fullmatch, array.path.split("/")[:-1]))
                or of_keras1.fullmatch(array.path)
            ]
        if all(
            len(gates_together(own[id(one)])) == sum(_counts(one, _NOTHING)) for one, _ in wrappers
        ):
            return own
    return {}


def _wrappers(layer: Layer, around: Names = ()) -> list[tuple[Layer, Names]]:
    """Returns what ``_by_name`` looks for and its names: a TimeDistributed lends it its own."""
    names = (*around, layer.name)
    if isinstance(layer, Bidirectional) or (_holds_layers(layer) and not layer.trainable):
        return [(layer, names)]
    lent = names if isinstance(layer, TimeDistributed) else ()
    return [found for inner in _inside(layer) for found in _wrappers(inner, lent)]


def _holds_layers(layer: Layer) -> bool:
    """Returns whether what jrnn has as one layer is made of others in Keras."""
    is_convolved = isinstance(getattr(layer, "cell", None), ConvLSTMCell)
    return is_convolved or isinstance(layer, MultiHeadAttention)


def _inside(layer: Layer) -> Sequence[Layer]:
    """Returns the layers or cells whose arrays make up a layer's."""
    if isinstance(layer, Bidirectional):
        return layer.forward, layer.backward
    if isinstance(layer, TimeDistributed):
        return (layer.layer,)
    if isinstance(layer, Model | StackedRecurrent):
        return layer.layers if isinstance(layer, Model) else layer.cells
    return ()


def _counts(layer: Layer, known: Known) -> tuple[int, int]:
    """Returns how many arrays of the list are a layer's and trained, and how many are frozen."""
    if id(layer) in known.own:
        return 0, 0
    trained, frozen = _counts_inside(layer, known)
    return (trained, frozen) if layer.trainable else (0, trained + frozen)


def _counts_inside(layer: Layer, known: Known) -> tuple[int, int]:
    inside = _inside(layer)
    if is_custom(layer):
        return known.custom, 0
    if not inside:
        frozen = frozen_arrays(layer)
        return len(expected_arrays(layer)[1]) - frozen, frozen
    counts = [_counts(one, known) for one in inside]
    return sum(trained for trained, _ in counts), sum(frozen for _, frozen in counts)


def _placed(layer: Layer, trained: Pieces, frozen: Pieces, known: Known) -> Any:
    """Returns a layer's parameters, made of what comes next in both parts of the list."""
    if id(layer) in known.own:
        return _from_list(layer, known.own[id(layer)])
    counts = _counts_inside(layer, known)
    if not layer.trainable:
        trained, frozen = (iter(list(itertools.islice(frozen, count))) for count in counts)
    if isinstance(layer, Model):
        inside = [one for one in layer.layers if has_arrays(one)]
        return {one.name: _placed(one, trained, frozen, known) for one in inside}
    parts = [_placed(one, trained, frozen, known) for one in _inside(layer)]
    if isinstance(layer, Bidirectional):
        _check_sides(layer, *parts)
        return BidirectionalParams(*parts)
    if isinstance(layer, StackedRecurrent):
        return tuple(parts)
    if isinstance(layer, TimeDistributed):
        return parts[0]
    own = [*itertools.islice(trained, counts[0]), *itertools.islice(frozen, counts[1])]
    return fill(layer, _kernels_first([array for piece in own for array in piece]))


def _check_sides(layer: Bidirectional, forward: Any, backward: Any) -> None:
    """Refuses arrays whose paths say that they are the other direction's."""
    for params, other in ((forward, "backward"), (backward, "forward")):
        paths = [array.path for array in jax.tree.leaves(params)]
        if any(name.startswith(other) for path in paths for name in path.split("/")[:-1]):
            raise KerasFileError(
                f"layer {layer.name!r}: one of its directions is frozen, and which of the arrays "
                f"{quoted(paths)} are whose cannot be told; save the model with both trainable"
            )
