"""Placing the arrays of the layout of Keras 3: one group for each object, by its path."""

import re
from collections.abc import Collection, Iterator, Sequence
from typing import Any, TypeGuard

from jrnn.keras_loader.arrays import fill, has_arrays, listed, quoted
from jrnn.keras_loader.classes import class_of, snake_case
from jrnn.keras_loader.cudnn import is_cudnn
from jrnn.keras_loader.errors import KerasFileError
from jrnn.keras_loader.multi_head import PROJECTIONS
from jrnn.keras_loader.read import ObjectWeights, StoredArray
from jrnn.keras_loader.spectral import in_two_places
from jrnn.layers.bidirectional import BidirectionalParams
from jrnn.model.basic import TimeDistributed
from jrnn.model.custom import is_custom
from jrnn.model.graph import Model
from jrnn.model.layer import Layer
from jrnn.model.multi_head import MultiHeadAttention
from jrnn.model.recurrent import Bidirectional, Recurrent
from jrnn.model.spectral import SpectralNormalization
from jrnn.model.stacked import StackedRecurrent
from jrnn.model.walk import walk

Objects = dict[str, tuple[StoredArray, ...]]


def from_objects(model: Model, weights: ObjectWeights) -> dict[str, Any]:
    """Returns the parameters with stored arrays as leaves; every array finds its place."""
    placing = _Walk(dict(weights.objects), weights.container)
    params = placing.model(model, weights.container)
    if placing.objects:
        path, arrays = next(iter(placing.objects.items()))
        raise KerasFileError(
            f"arrays are left over that no layer of the model takes: {path!r} with {listed(arrays)}"
        )
    return params


def custom_places(model: Model, weights: ObjectWeights) -> dict[int, tuple[str, ...]]:
    """Returns where the arrays of each of the caller's layers lie below it, by the layer's id."""
    placing = _Walk(dict(weights.objects), weights.container)
    placing.model(model, weights.container)
    return placing.places


class _Walk:
    """The way that Keras takes through a model, in which each array is stored where first met."""

    def __init__(self, objects: Objects, container: str) -> None:
        self.objects = objects
        self.name = container
        self.met: list[tuple[Layer, Any]] = []
        self.places: dict[int, tuple[str, ...]] = {}  # of the arrays of the caller's layers

    def model(self, model: Model, path: str) -> dict[str, Any]:
        owners = [layer for layer in model.layers if has_arrays(layer)]
        params = self.container(owners, path)
        pairs = zip(owners, params, strict=True)
        return {layer.name: own for layer, own in pairs if own is not None}

    def container(self, owners: Sequence[Layer], path: str) -> list[Any]:
        """The k-th layer of a class takes the k-th group named after the class."""
        prefix = f"{path}/"
        keys = {key[len(prefix) :].split("/")[0] for key in self.objects if key.startswith(prefix)}
        groups: dict[int, str] = {}
        kinds = {id(layer): _stored_as(layer, keys) for layer in owners}
        for kind in dict.fromkeys(kinds.values()):
            found = sorted(
                (int(match[1] or 0), key) for key in keys if (match := _named(kind).fullmatch(key))
            )
            layers = [layer for layer in owners if kinds[id(layer)] == kind]
            layers = self._stored(owners, layers, len(found))
            groups |= {id(one): key for one, (_, key) in zip(layers, found, strict=True)}
        params = []
        for layer in owners:
            key = groups.get(id(layer))
            if key is not None:
                params.append(self.object(layer, prefix + key))
            else:
                is_known = _was_met(layer, [one for one, _ in self.met])
                again = is_known or has_arrays(layer, surely=True)
                params.append(self._again(layer) if again else None)
        return params

    def _stored(self, owners: Sequence[Layer], layers: list[Layer], found: int) -> list[Layer]:
        """Returns the layers of a class that are stored here and not where they were met before."""
        if len(layers) == found:
            return layers
        met = [layer for layer, _ in self.met]
        new = []
        for layer in owners:
            if any(layer is one for one in layers) and not _was_met(layer, met):
                new.append(layer)
            met += [*walk(layer), *_cells(layer)]
        if len(new) != found:  # a layer of the caller's may have no arrays
            new = [layer for layer in new if has_arrays(layer, surely=True)]
        if len(new) != found:
            raise KerasFileError(
                f"the file holds arrays for {found} layers of class {layers[0].kind}, but the "
                f"model needs them for {len(layers)}: {quoted(layer.name for layer in layers)}"
            )
        return new

    def _again(self, layer: Layer) -> Any:
        """Returns the parameters of a layer met before, or made of such layers alone."""
        found = [params for one, params in self.met if one == layer]
        if not found and _is_over_named_cell(layer):
            return self._again(layer.one_cell())
        if any(params is not found[0] for params in found):
            raise KerasFileError(
                f"layer {layer.name!r} shares its arrays with another of that name, of which there "
                f"are {len(found)}; give each a name of its own"
            )
        if found:
            return found[0]
        if isinstance(layer, Model):
            return {one.name: self._again(one) for one in layer.layers if has_arrays(one)}
        if isinstance(layer, StackedRecurrent):
            return tuple(self._again(cell) for cell in layer.cells)
        assert isinstance(layer, TimeDistributed), "told by _was_met"
        return self._again(layer.layer)

    def object(self, layer: Layer, path: str, *, is_copy: bool = False) -> Any:
        params = self._object(layer, path)
        self.met.append((layer, params))
        if _is_over_named_cell(layer) and not is_copy:
            self.met.append((layer.one_cell(), params))
        return params

    def _object(self, layer: Layer, path: str) -> Any:
        if isinstance(layer, Bidirectional):
            sides = {"forward": layer.forward, "backward": layer.backward}
            copies = _copies(layer)
            return BidirectionalParams(
                *(
                    self.object(one, f"{path}/{side}_layer", is_copy=side in copies)
                    for side, one in sides.items()
                )
            )
        if isinstance(layer, TimeDistributed):
            return self.object(layer.layer, f"{path}/layer")
        if isinstance(layer, Model):
            return self.model(layer, f"{path}/{self.name}")
        if isinstance(layer, StackedRecurrent):
            cells = self.container(layer.cells, f"{path}/cell/cells")
            return tuple(() if own is None else own for own in cells)
        if isinstance(layer, SpectralNormalization):
            outer, inner = (self.objects.pop(key, ()) for key in (path, f"{path}/layer"))
            return fill(layer, in_two_places(outer, inner))
        inside = "/cell" if isinstance(layer, Recurrent) and not is_cudnn(layer) else ""
        is_missing = isinstance(layer, Recurrent) and path + inside not in self.objects
        if is_missing and _was_met(layer, [one for one, _ in self.met]):
            return self._again(layer)
        if isinstance(layer, MultiHeadAttention) or is_custom(layer):
            arrays = _with_inner(layer, path + inside, self.objects)
            start = len(path + inside) + 1
            self.places[id(layer)] = tuple(array.path[start:] for array in arrays)
            return fill(layer, arrays)
        return fill(layer, self.objects.pop(path + inside, ()))


def _stored_as(layer: Layer, keys: Collection[str]) -> str:
    """Returns the class whose name the layer's group has: Keras 3's if the older one's has none."""
    known = any(map(_named(layer.kind).fullmatch, keys))
    return layer.kind if known else class_of(layer)


def _named(kind: str) -> re.Pattern[str]:
    return re.compile(rf"{snake_case(kind)}(?:_(\d+))?")


def _was_met(layer: Layer, met: Sequence[Layer]) -> bool:
    """Whether Keras stored a layer elsewhere: equal layers of one name are one layer to it."""
    if layer in met or (_is_over_named_cell(layer) and layer.one_cell() in met):
        return True
    if isinstance(layer, StackedRecurrent):
        return all(_was_met(cell, met) for cell in layer.cells)
    if isinstance(layer, TimeDistributed):
        return _was_met(layer.layer, met)
    owners = [one for one in layer.layers if has_arrays(one)] if isinstance(layer, Model) else []
    return bool(owners) and all(_was_met(one, met) for one in owners)


def _is_over_named_cell(layer: Layer) -> TypeGuard[Recurrent]:
    """Whether the layer is a Keras ``RNN`` over one cell, which other layers may be over, too."""
    return isinstance(layer, Recurrent) and bool(layer.cell_name)


def _cells(layer: Layer) -> Iterator[Layer]:
    """Yields the cells in a layer that layers elsewhere may share."""
    around = [one for one in walk(layer) if isinstance(one, Bidirectional)]
    copies = [copy for one in around for copy in _copies(one).values()]
    for one in walk(layer):
        if _is_over_named_cell(one) and not any(one is copy for copy in copies):
            yield one.one_cell()


def _copies(layer: Bidirectional) -> dict[str, Recurrent]:
    """Returns the directions that Keras makes anew of a layer's config, cells and all."""
    found = {"forward": layer.forward}
    common = layer.forward.name.removeprefix("forward_")
    if layer.backward.name in (layer.forward.name, f"backward_{common}"):
        found["backward"] = layer.backward
    return found


def _with_inner(
    layer: Layer, path: str, objects: dict[str, tuple[StoredArray, ...]]
) -> list[StoredArray]:
    """Returns the arrays of an object and of those inside it, its own first, then by name."""
    paths = [key for key in objects if key == path or key.startswith(f"{path}/")]
    if isinstance(layer, MultiHeadAttention):
        # In tf.keras and early Keras 3 the attributes' names start with "_".
        order = [f"{path}/{start}{name}_dense" for name in PROJECTIONS for start in ("", "_")]
        paths = [key for key in order if key in paths]
    return [array for key in paths for array in objects.pop(key)]
