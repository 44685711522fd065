"""What a convolutional cell says when it is given what does not fit: who, expected, got."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jrnn
from jrnn import ConvGRUCell, ConvLSTMCell

KEY = jax.random.key(0)
CELLS = {"ConvLSTMCell": ConvLSTMCell, "ConvGRUCell": ConvGRUCell}
every_cell = pytest.mark.parametrize(("who", "make"), CELLS.items(), ids=CELLS)


def fails(*parts):
    """Expects a ValueError that says all the parts, in this order."""
    return pytest.raises(ValueError, match="(?s)" + ".*".join(parts))


@every_cell
@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("rank", 4, r"one of \(1, 2, 3\)"),
        ("rank", True, r"one of \(1, 2, 3\)"),
        ("padding", "causal", r"one of \('valid', 'same'\)"),
        ("data_format", "NHWC", "one of .*channels_first"),
        ("same_rule", "jax", "one of .*theano"),
        ("kernel_size", (3, 3, 3), "one positive integer or 2 of them"),
        ("strides", (2,), "one positive integer or 2 of them"),
        ("strides", "2", "one positive integer or 2 of them"),
    ],
)
def test_options(who, make, option, value, said):
    with fails(who, f"{option} is", said):
        make(**{option: value})


@every_cell
@pytest.mark.parametrize("option", ["kernel_size", "strides", "dilation"])
@pytest.mark.parametrize("size", [0, -1, 2.0, True])
def test_sizes(who, make, option, size):
    with fails(who, rf"{option}\[1\] is {size}", "positive integer"):
        make(**{option: (3, size)})


@every_cell
def test_names(who, make):
    with fails("tanhh", "did you mean 'tanh'"):
        make(recurrent_activation="tanhh")
    with fails("'glorot'", "names: .*glorot_uniform"):
        make(kernel_initializer="glorot")
    with fails(f"{who}.init", "units is 0", "positive integer"):
        make().init(KEY, 2, 0)


@every_cell
@pytest.mark.parametrize("shape", [(5, 5, 3), (5, 2), (2,), (), (1, 2, 5, 5)], ids=str)
def test_input_of_another_shape(who, make, shape):
    cell = make()
    with fails(who, r"x has shape \(" + ", ".join(map(str, shape)), r"\*S, C\]", "2 channels"):
        cell.project(cell.init(KEY, 2, 4), jnp.ones(shape))
    first = make(data_format="channels_first")
    with fails(who, r"C, \*S\]", "2 sizes and 2 channels"):
        first.project(first.init(KEY, 2, 4), jnp.ones((5, 5, 2)))


@every_cell
def test_input_that_is_not_floating(who, make):
    cell = make()
    with fails(who, "x has dtype uint8", "floating-point", "convert"):
        cell.project(cell.init(KEY, 2, 4), jnp.ones((5, 5, 2), "uint8"))
    with fails(who, "x is a list"):
        cell.project(cell.init(KEY, 2, 4), [jnp.ones((5, 5, 2))])


@every_cell
def test_image_smaller_than_the_window(who, make):
    cell = make(kernel_size=(2, 3))
    with fails(who, r"x has shape \(7, 2, 2\)", "at least as large", "padding='same'"):
        cell.project(cell.init(KEY, 2, 4), jnp.ones((7, 2, 2)))
    assert cell.project(cell.init(KEY, 2, 4), jnp.ones((0, 2, 3, 2))).shape[:3] == (0, 1, 1)


@every_cell
def test_parameters_that_do_not_fit(who, make):
    params, x = make().init(KEY, 2, 4), jnp.ones((5, 5, 2))
    with fails(who, "kernel has shape", "rank=1 needs 3 axes", "rank of its images"):
        make(rank=1).project(params, jnp.ones((5, 2)))
    with fails(who, "bias is None", r"needs shape \("):
        make().project(params._replace(bias=None), x)
    with fails(who, r"bias has shape \(", "use_bias=False needs None"):
        make(use_bias=False).project(params, x)
    other = make().init(KEY, 2, 5).recurrent_kernel
    with fails(who, r"recurrent_kernel is shape \(3, 3, 5, ", r"needs shape \(3, 3, 4, "):
        make().project(params._replace(recurrent_kernel=other), x)
    with fails(who, "params is a tuple"):
        make().project(tuple(params), x)


def test_layer_functions_read_the_rank_off_the_kernel():
    xs = np.random.default_rng(0).normal(size=(2, 3, 4, 4, 5, 2)).astype("float32")
    for name, make in (("conv_lstm", ConvLSTMCell), ("conv_gru", ConvGRUCell)):
        cell = make(rank=3)
        params, run = cell.init(KEY, 2, 4), getattr(jrnn, name)
        state, ys = run(params, xs)
        expected = jrnn.rnn(cell, params, xs)
        assert ys.shape == (2, 3, 2, 2, 3, 4)
        assert jax.tree.all(jax.tree.map(jnp.array_equal, (state, ys), expected))
        with fails(f"jrnn.{name}", "params is a dict"):
            run(params._asdict(), xs)
