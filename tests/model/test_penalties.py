"""Penalties and constraints of whole models beside real Keras 3 on the same file."""

import os

os.environ.setdefault("KERAS_BACKEND", "jax")

import dataclasses
import tempfile

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest
from keras import constraints, layers, regularizers

import jrnn

STEPS, FEATURES, TOKENS, BATCH = 5, 3, 9, 4


def penalised(**more):
    """Every regularizer and constraint that a recurrent layer takes."""
    return {
        "kernel_regularizer": regularizers.L1L2(0.03, 0.2),
        "recurrent_regularizer": regularizers.OrthogonalRegularizer(0.4),
        "bias_regularizer": "l2",
        "kernel_constraint": constraints.MaxNorm(0.6, axis=0),
        "recurrent_constraint": constraints.UnitNorm(axis=1),
        "bias_constraint": constraints.NonNeg(),
        **more,
    }


def sequences(*stack):
    return keras.Sequential([keras.Input((STEPS, FEATURES)), *stack])


def dense(units, **options):
    return layers.Dense(
        units,
        kernel_regularizer="l1",
        bias_regularizer=regularizers.L2(0.3),
        kernel_constraint=constraints.MinMaxNorm(0.4, 0.5, rate=0.7, axis=[0, 1]),
        bias_constraint="non_neg",
        **options,
    )


def recurrent():
    return sequences(
        layers.SimpleRNN(4, return_sequences=True, **penalised()),
        layers.GRU(5, return_sequences=True, **penalised(bias_regularizer=None)),
        layers.GRU(4, return_sequences=True, reset_after=False, **penalised(use_bias=False)),
        layers.LSTM(4, **penalised(activity_regularizer="l2")),
        dense(2),
    )


def bidirectional():
    other = layers.GRU(4, go_backwards=True, return_sequences=True, kernel_regularizer="l1")
    return sequences(
        layers.Bidirectional(
            layers.LSTM(4, return_sequences=True, **penalised(activity_regularizer="l1"))
        ),
        layers.Bidirectional(
            layers.GRU(4, return_sequences=True, **penalised()),
            backward_layer=other,
            activity_regularizer=regularizers.L1L2(0.1, 0.2),
        ),
        layers.TimeDistributed(dense(3, activity_regularizer="l2")),
        layers.TimeDistributed(dense(2), activity_regularizer="l2"),
    )


def cells():
    stack = [layers.LSTMCell(4, **penalised()), layers.SimpleRNNCell(3, kernel_regularizer="l2")]
    return sequences(
        layers.RNN(layers.GRUCell(5, **penalised()), return_sequences=True),
        layers.RNN(stack, return_state=True, activity_regularizer="l1"),
    )


def nested():
    inner = keras.Sequential(
        [keras.Input((STEPS, FEATURES)), layers.LSTM(4, **penalised(activity_regularizer="l2"))]
    )
    return sequences(inner, layers.ActivityRegularization(l1=0.02, l2=0.3), layers.Dropout(0.5))


def shared():
    inner, twice = nested(), dense(3, activity_regularizer="l1")
    x, other = keras.Input((STEPS, FEATURES)), keras.Input((STEPS, FEATURES))
    return keras.Model([x, other], layers.Concatenate()([twice(inner(x)), twice(inner(other))]))


def images():
    convolution = {
        "kernel_regularizer": regularizers.L1(0.2),
        "bias_regularizer": "l2",
        "kernel_constraint": constraints.UnitNorm(axis=[0, 1, 2]),
    }
    return keras.Sequential(
        [
            keras.Input((4, 6, 6, 2)),
            layers.ConvLSTM2D(
                3, 3, return_sequences=True, kernel_regularizer="l2", recurrent_constraint="non_neg"
            ),
            layers.ConvLSTM2D(4, 2, bias_regularizer="l1", activity_regularizer="l2"),
            layers.Conv2D(3, 2, **convolution),
            layers.DepthwiseConv2D(
                2, depthwise_regularizer="l2", depthwise_constraint=constraints.MaxNorm(0.3)
            ),
            layers.SeparableConv2D(
                2,
                1,
                depthwise_regularizer="l1",
                pointwise_regularizer="l2",
                depthwise_constraint="non_neg",
                pointwise_constraint=constraints.MaxNorm(0.2, axis=2),
            ),
        ]
    )


def tokens():
    return keras.Sequential(
        [
            keras.Input((STEPS,), dtype="int32"),
            layers.Embedding(
                TOKENS,
                FEATURES,
                mask_zero=True,
                embeddings_regularizer="l2",
                embeddings_constraint=constraints.MaxNorm(0.5, axis=1),
                activity_regularizer="l1",
            ),
            layers.BatchNormalization(
                gamma_regularizer="l2",
                beta_regularizer="l1",
                gamma_constraint="non_neg",
                beta_constraint="unit_norm",
            ),
            layers.LayerNormalization(
                gamma_regularizer="l1", beta_regularizer="l2", gamma_constraint="non_neg"
            ),
            layers.Conv1D(4, 2, padding="same", kernel_regularizer="l2", bias_constraint="non_neg"),
            layers.PReLU(alpha_regularizer="l1", alpha_constraint="non_neg"),
            layers.GRU(4, **penalised(activity_regularizer="l2")),
        ]
    )


def frozen():
    inner = keras.Sequential([keras.Input((STEPS, FEATURES)), dense(4), dense(3)])
    inner.trainable = False
    model = sequences(inner, layers.LSTM(4, **penalised(activity_regularizer="l2")), dense(2))
    model.layers[-1].trainable = False
    return model


def attention():
    """The penalties and constraints of each projection; those on outputs on projections' alone."""
    x = keras.Input((STEPS, FEATURES))
    options = {
        "kernel_regularizer": regularizers.L1L2(0.03, 0.2),
        "bias_regularizer": "l2",
        "activity_regularizer": "l1",
        "kernel_constraint": constraints.MaxNorm(0.6, axis=0),
        "bias_constraint": "non_neg",
    }
    y = layers.MultiHeadAttention(2, 4, value_dim=3, dropout=0.1, **options)(x, x)
    return keras.Model(x, layers.GroupQueryAttention(4, 4, 2, **options)(x, y))


MODELS = [recurrent, bidirectional, cells, nested, images, tokens, frozen, attention]


def numbers(rng, variable):
    values = 0.7 * rng.standard_normal(variable.shape)
    return np.abs(values) if variable.name in ("moving_variance", "gamma") else values


@pytest.fixture(scope="module", params=MODELS, ids=[make.__name__ for make in MODELS])
def both(request):
    return beside(request.param)


def beside(make):
    """Returns (Keras's model, jrnn's, its parameters, inputs) with random weights."""
    theirs, rng = make(), np.random.default_rng(3)
    for variable in theirs.variables:
        if "seed" not in variable.name:
            variable.assign(numbers(rng, variable))
    inputs = [
        rng.integers(0, TOKENS, (BATCH, *x.shape[1:])).astype("int32")
        if "int" in x.dtype
        else rng.standard_normal((BATCH, *x.shape[1:])).astype("float32")
        for x in theirs.inputs
    ]
    return theirs, *load(theirs), inputs


def load(model):
    """Returns jrnn's model and parameters by way of a file."""
    with tempfile.TemporaryDirectory() as folder:
        model.save(f"{folder}/model.keras")
        return jrnn.load_keras(f"{folder}/model.keras", backend="jax")


def test_penalty_and_its_gradient_are_those_of_keras(both):
    theirs, ours, params, inputs = both
    trainable = [v.value for v in theirs.trainable_variables]
    fixed = [v.value for v in theirs.non_trainable_variables]

    def losses(trainable):
        return sum(theirs.stateless_call(trainable, fixed, *inputs, return_losses=True)[2])

    want, by_order = jax.jit(jax.value_and_grad(losses))(trainable)
    got, gradients = jax.jit(jax.value_and_grad(ours.penalty))(params, *inputs)
    assert want > 0.1
    np.testing.assert_allclose(got, want, rtol=1e-5)
    wanted = dict(zip(map(id, theirs.trainable_variables), by_order, strict=True))
    for variable, gradient in paired(theirs, ours, gradients):
        if id(variable) in wanted:
            np.testing.assert_allclose(gradient, wanted[id(variable)], rtol=2e-4, atol=2e-5)


def test_constrain_is_what_keras_optimizers_do(both):
    theirs, ours, params, _ = both
    variables = theirs.trainable_variables
    want = {id(v): v.constraint(v) for v in variables if v.constraint is not None}
    got = jax.jit(ours.constrain)(params)
    assert jax.tree.structure(got) == jax.tree.structure(params)
    for variable, array in paired(theirs, ours, got):
        expected = want.pop(id(variable), variable.value)
        np.testing.assert_allclose(array, expected, rtol=2e-6, atol=1e-7)
    assert not want


def paired(theirs, ours, params):
    """Yields each variable of Keras's model with its array."""
    named = {layer.name: layer for layer in theirs.layers}
    for layer in ours.layers:
        variables = [v for v in named[layer.name].variables if "seed" not in v.name]
        own = params.get(layer.name, ())
        arrays = jax.tree.leaves(own)
        if layer.kind == "BatchNormalization":  # Keras has the trainable ones first
            arrays = [getattr(own, v.name) for v in variables]
        yield from zip(variables, arrays, strict=True)


def test_what_is_called_twice_costs_twice():
    """Not ``stateless_call``: Keras 3.15.1 loses all but the last call's there."""
    theirs, ours, params, inputs = beside(shared)
    theirs(inputs)
    np.testing.assert_allclose(ours.penalty(params, *inputs), sum(theirs.losses), rtol=1e-5)


def test_penalty_needs_inputs_where_outputs_cost_something():
    _, ours, params, inputs = beside(nested)
    with pytest.raises(ValueError, match=r"'lstm.*' cost something, so its penalty depends on"):
        ours.penalty(params)
    [inner] = [layer for layer in ours.layers if isinstance(layer, jrnn.model.Model)]
    weights = inner.layers[0]
    own = params[inner.name][weights.name]
    quiet = dataclasses.replace(weights, activity_regularizer=None)
    inner = dataclasses.replace(inner, layers=(quiet,), nodes=())
    want = sum(function(getattr(own, name)) for name, function in quiet.regularizers)
    np.testing.assert_allclose(inner.penalty(params[inner.name]), want, rtol=1e-6)
    assert 0 < float(want) < float(ours.penalty(params, *inputs))


def test_projected_gradient_descent_keeps_to_the_constraints():
    model = keras.Sequential(
        [
            keras.Input((STEPS, FEATURES)),
            layers.LSTM(4, kernel_constraint=constraints.MaxNorm(0.5), bias_constraint="non_neg"),
        ]
    )
    ours, params = load(model)
    x = jnp.asarray(np.random.default_rng(0).standard_normal((BATCH, STEPS, FEATURES)), "float32")

    @jax.jit
    def step(params):
        grads = jax.grad(lambda p: jnp.sum(ours.apply(p, x)) + ours.penalty(p))(params)
        return ours.constrain(jax.tree.map(lambda w, g: w - 0.5 * g, params, grads))

    for _ in range(3):
        params = step(params)
    [lstm] = params.values()
    norms = np.linalg.norm(lstm.kernel, axis=0)
    assert norms.max() == pytest.approx(0.5, rel=1e-5)
    assert lstm.bias.min() == 0


def test_a_penalty_for_an_array_that_is_not_there_is_told():
    ours, params = load(sequences(layers.LSTM(4)))
    [layer] = ours.layers
    for field in ("regularizers", "constraints"):
        wrong = dataclasses.replace(layer, **{field: (("weights", jrnn.regularizers.l2()),)})
        changed = dataclasses.replace(ours, layers=(wrong,))
        run = changed.penalty if field == "regularizers" else changed.constrain
        with pytest.raises(ValueError, match="'weights', but its parameters are LSTMParams"):
            run(params)
