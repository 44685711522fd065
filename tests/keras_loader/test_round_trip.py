"""Models made by real Keras 3, saved in every format, loaded by jrnn: the same numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jrnn

pytest.importorskip("keras", minversion="3.0")

from tests.keras_models import FAMILIES, draw_inputs, draw_model, named_outputs


def round_trip(seed: int, folder) -> None:
    model = draw_model(seed)
    inputs = draw_inputs(model, seed)
    if seed % len(FAMILIES) == FAMILIES.index(named_outputs):
        expected = model({"in": inputs[0]})
    else:
        expected = model(inputs if len(inputs) > 1 else inputs[0])
    expected = {k: np.asarray(v) for k, v in enumerate(jax.tree.leaves(expected))}
    for name in ("m.keras", "m.h5", "m.weights.h5"):
        (model.save_weights if "weights" in name else model.save)(folder / name)
    (folder / "m.json").write_text(model.to_json())

    loaded, params = jrnn.load_keras(folder / "m.keras", backend="jax")
    for found in (
        jrnn.load_keras(folder / "m.h5"),
        jrnn.load_keras(folder / "m.weights.h5", config=folder / "m.json", backend="jax"),
    ):
        assert found[0] == loaded
        jax.tree.map(np.testing.assert_array_equal, found[1], params)

    compare(loaded.apply(params, *inputs), expected)
    outputs, gradients = jax.jit(gradients_of, static_argnums=0)(loaded, params, inputs)
    compare(outputs, expected)
    for gradient in jax.tree.leaves(gradients):
        assert np.isfinite(gradient).all()
    assert any(np.any(gradient) for gradient in jax.tree.leaves(gradients))


def gradients_of(model, params, inputs):
    """Returns the outputs, and the gradient of a sum over all of them in the parameters."""

    def total(params):
        outputs = model.apply(params, *inputs)
        return sum(jnp.sum(jnp.sin(y)) for y in jax.tree.leaves(outputs)), outputs

    gradients, outputs = jax.grad(total, has_aux=True)(params)
    return outputs, gradients


def compare(outputs, expected: dict) -> None:
    outputs = jax.tree.leaves(outputs)
    assert len(outputs) == len(expected)
    for k, output in enumerate(outputs):
        np.testing.assert_allclose(output, expected[k], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("seed", range(len(FAMILIES)))
def test_same_numbers(seed, tmp_path):
    round_trip(seed, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(len(FAMILIES), 12 * len(FAMILIES)))
def test_same_numbers_for_many(seed, tmp_path):
    round_trip(seed, tmp_path)
