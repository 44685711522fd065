"""Real Keras 3 opens what ``save_keras`` wrote: the same layers, weights and numbers."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import jrnn

pytest.importorskip("keras", minversion="3.0")

import keras
from keras import layers

from jrnn.keras_loader.graph_order import in_keras_order
from tests import keras_models
from tests.keras_loader import test_more_layers
from tests.keras_models import Draw

DATA = Path(__file__).parents[1] / "data"
FORMATS = ("s.keras", "s.h5")
# What a model of jrnn does not hold: Keras's defaults stand there again.
TRAINING = ("initializer", "seed")


def options(value: Any) -> Any:
    """A config without what is for training, and without notes on how it was built."""
    if isinstance(value, dict):
        ignored = ("build_config", "compile_config", "shared_object_id", "shape", "training")
        kept = {
            key: options(item)
            for key, item in value.items()
            if key not in ignored and not any(word in key for word in TRAINING)
        }
        if kept.get("unroll"):  # Keras on JAX takes no notice of it then, and jrnn none of it
            kept.pop("zero_output_for_mask")
        if isinstance(kept.get("cell"), dict):
            kept["cell"]["config"].pop("name", None)
        if isinstance(kept.get("axes"), int):
            kept["axes"] = [kept["axes"]] * 2
        for key in {"input_layers", "output_layers"} & set(kept):
            kept[key] = tensors(kept[key])
        # A mask that is not given may be written as null.
        return {key: item for key, item in kept.items() if key != "mask" or item is not None}
    return [options(item) for item in value] if isinstance(value, list | tuple) else value


def tensors(value: Any) -> list:
    """Inputs or outputs in order: jrnn does not tell a list of one from the one itself."""
    if isinstance(value, dict):
        return [(key, *tensors(value[key])) for key in sorted(value)]
    if isinstance(value[0], str):
        return [tuple(value)]
    return [tensor for item in value for tensor in tensors(item)]


def keras_opens(model: keras.Model, folder: Path) -> None:
    """Saves with Keras, loads and saves with jrnn, and compares what Keras makes of that."""
    model.save(folder / "m.keras")
    loaded, params = jrnn.load_keras(folder / "m.keras", backend="jax")
    expected = [np.asarray(weight) for weight in model.weights]
    for name in FORMATS:
        jrnn.save_keras(folder / name, loaded, params, backend="jax")
        again = keras.models.load_model(folder / name, compile=False)
        assert options(again.get_config()) == options(model.get_config())
        for found, weight in zip(again.weights, expected, strict=True):
            np.testing.assert_array_equal(found, weight)
    for weight in model.weights:
        weight.assign(np.zeros_like(weight))
    jrnn.save_keras(folder / "s.weights.h5", loaded, params, backend="jax")
    model.load_weights(folder / "s.weights.h5")
    for found, weight in zip(model.weights, expected, strict=True):
        np.testing.assert_array_equal(found, weight)


@pytest.mark.parametrize("kind", test_more_layers.LAYERS)
def test_every_layer_is_as_it_was(kind, tmp_path):
    keras.utils.clear_session()
    draw = Draw(len(kind))
    model = test_more_layers.draw_model(test_more_layers.LAYERS[kind], draw)
    for weight in model.weights:
        if "count" not in weight.path:
            weight.assign(draw.rng.standard_normal(weight.shape))
    keras_opens(model, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
def test_every_einsum_is_as_it_was(seed, tmp_path):
    keras.utils.clear_session()
    case = test_more_layers.LAYERS["EinsumDense"]
    keras_opens(test_more_layers.draw_model(case, Draw(seed)), tmp_path)


@pytest.mark.parametrize("seed", range(len(keras_models.FAMILIES)))
def test_every_model_is_as_it_was(seed, tmp_path):
    keras_opens(keras_models.draw_model(seed), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(len(keras_models.FAMILIES), 20 * len(keras_models.FAMILIES)))
def test_many_models_are_as_they_were(seed, tmp_path):
    keras_opens(keras_models.draw_model(seed), tmp_path)


def numbers(model: keras.Model, xs: list) -> list:
    """What Keras computes."""
    weights = [variable.value for variable in model.trainable_variables]
    fixed = [variable.value for variable in model.non_trainable_variables]

    def run(weights, fixed, xs):
        return model.stateless_call(weights, fixed, xs if len(xs) > 1 else xs[0])[0]

    return jax.tree.leaves(jax.jit(run)(weights, fixed, xs))


def same_numbers(model, params, xs: list, folder: Path, name: str) -> None:
    jrnn.save_keras(folder / name, model, params, backend="jax")
    keras.utils.clear_session()
    theirs = numbers(keras.models.load_model(folder / name, compile=False), xs)
    ours = jax.tree.leaves(jax.jit(model.apply)(params, *xs))
    for a, b in zip(ours, theirs, strict=True):
        a, b = np.asarray(a, "float64"), np.asarray(b, "float64")
        assert a.shape == b.shape
        assert np.abs(a - b).max() <= 1e-6 * np.abs(b).max()


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("keras-1.2.2-tf/simplernn_mem.h5", "s.keras"),
        ("keras-2.2.4/cudnn_lstm_gru.h5", "s.h5"),
        ("keras-2.3.1/cudnn_bidirectional.h5", "s.keras"),
        ("keras-2.3.1/stacked_cells_state.h5", "s.keras"),
        ("keras-3.15-jax/convlstm2d_bidir.keras", "s.h5"),
        ("keras-3.15-jax/nested_timedistributed_model.keras", "s.h5"),
        ("keras-3.15-jax/op_nodes.keras", "s.h5"),
        ("tf.keras-2.15/stacked_state_inout.keras", "s.keras"),
    ],
)
def test_keras_computes_the_same(source, name, tmp_path):
    model, params = jrnn.load_keras(DATA / source)
    with np.load(Path(DATA / source).with_suffix(".npz")) as data:
        xs = [data[f"x{k}"] for k in range(len(model.inputs))]
    same_numbers(model, params, xs, tmp_path, name)


@pytest.mark.parametrize("name", FORMATS)
def test_a_mask_beside_an_initial_state_is_handed_over(name, tmp_path):
    """Keras 3 drops it if it is not: the usual encoder and decoder of Keras 2."""
    model, params = jrnn.load_keras(DATA / "keras-2.2.4/seq2seq_masked.h5")
    with np.load(DATA / "keras-2.2.4/seq2seq_masked.npz") as data:
        xs = [data[f"x{k}"] for k in range(len(model.inputs))]
    for x in xs:
        assert (x == 0).any()
    same_numbers(model, params, xs, tmp_path, name)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "mixed_float16", "mixed_bfloat16"])
def test_dtype_policies(dtype, tmp_path):
    keras.utils.clear_session()
    xs = keras.Input((4, 3))
    gru = layers.GRU(5, dtype=dtype, recurrent_initializer="zeros")  # JAX draws few in 16 bits
    y = layers.Bidirectional(gru, dtype=dtype)(xs)
    model = keras.Model(xs, layers.Dense(2, dtype=dtype)(layers.Softmax(dtype=dtype)(y)))
    model.save(tmp_path / "m.keras")
    loaded, params = jrnn.load_keras(tmp_path / "m.keras")
    jrnn.save_keras(tmp_path / "s.keras", loaded, params)
    again = keras.models.load_model(tmp_path / "s.keras", compile=False)
    for found, layer in zip(again.layers[1:], model.layers[1:], strict=True):
        if layer.weights:  # without any, both kinds of policy are one
            assert found.dtype_policy == layer.dtype_policy
        assert found.compute_dtype == layer.compute_dtype
    for found, weight in zip(again.weights, model.weights, strict=True):
        assert found.dtype == weight.dtype
        assert np.asarray(found).tobytes() == np.asarray(weight).tobytes()


def random_graph(draw: Draw) -> keras.Model:
    """Many equal layers in parallel, some called twice, some in operations."""
    shared = [layers.Dense(3), layers.GRU(3, return_sequences=True)]
    inputs = [keras.Input((4, 3)), keras.Input((4, 3))]
    xs = [inputs[0], layers.Dense(3)(inputs[1])]
    xs.append(layers.Masking(0.5)(xs[1]))
    for _ in range(12):
        one, other = draw.one_of(xs), draw.one_of(xs)
        make = draw.one_of(
            (
                lambda: layers.Dense(3)(one),  # noqa: B023
                lambda: draw.one_of(shared)(one),  # noqa: B023
                lambda: layers.LSTM(3, return_sequences=True)(one),  # noqa: B023
                lambda: one + other,  # noqa: B023
                lambda: layers.Concatenate()([one, other])[..., :3],  # noqa: B023
            )
        )
        xs.append(make())
    ends = [draw.one_of(xs[3:]) for _ in range(3)]
    return keras.Model(inputs, ends)


@pytest.mark.parametrize("seed", range(8))
def test_layers_are_in_keras_own_order(seed, tmp_path):
    """The layouts go by it, and it must not depend on the order in the file."""
    keras.utils.clear_session()
    model = random_graph(Draw(seed))
    model.save(tmp_path / "m.keras")
    loaded, _ = jrnn.load_keras(tmp_path / "m.keras")
    shuffled = dataclasses.replace(loaded, layers=loaded.layers[::-1])
    operations = [one.name for one in model.operations if not isinstance(one, layers.InputLayer)]
    assert in_keras_order(shuffled) == operations
