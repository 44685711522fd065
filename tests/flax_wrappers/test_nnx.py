"""The NNX modules beside Flax's own, on converted weights, and beside jrnn's functions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jrnn
from jrnn.flax_wrappers import nnx as wrapped
from tests.cases import assert_close, assert_equal
from tests.flax_wrappers.drawn import randomized

B, T, F, U = 3, 5, 2, 4
LENGTHS = np.array([5, 2, 4])
CELLS = {
    "simple": nnx.SimpleCell,
    "gru": nnx.GRUCell,
    "lstm": nnx.LSTMCell,
    "optimized_lstm": nnx.OptimizedLSTMCell,
}
OURS = {
    "simple": wrapped.SimpleCell,
    "gru": wrapped.GRUCell,
    "lstm": wrapped.LSTMCell,
    "optimized_lstm": wrapped.OptimizedLSTMCell,
}
every_cell = pytest.mark.parametrize("name", CELLS)


def flax_cell(name, seed=0, features=F):
    return randomized(CELLS[name](features, U, rngs=nnx.Rngs(0)), seed)


def inputs(seed=1, shape=(B, T, F)):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


@every_cell
def test_one_step_is_flaxs(name):
    theirs = flax_cell(name)
    ours = wrapped.from_flax(theirs)
    x = inputs()[:, 0]
    carry = theirs.initialize_carry(x.shape, nnx.Rngs(0))
    assert_equal(ours.initialize_carry(x.shape), carry)
    drawn = randomized_like(carry)
    assert jax.tree.structure(ours(drawn, x)) == jax.tree.structure(theirs(drawn, x))
    assert_close(ours(drawn, x), theirs(drawn, x), 1e-6)


def randomized_like(tree, seed=2):
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda a: jnp.asarray(rng.normal(size=a.shape), a.dtype), tree)


@every_cell
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"reverse": True},
        {"reverse": True, "keep_order": True},
        {"time_major": True, "unroll": 2},
    ],
    ids=str,
)
@pytest.mark.parametrize("at_the_call", [False, True])
def test_a_sequence_is_flaxs(name, options, at_the_call):
    theirs = nnx.RNN(flax_cell(name), **options)
    ours = wrapped.from_flax(theirs)
    x = inputs(shape=(T, B, F) if "time_major" in options else (B, T, F))
    call = {"initial_carry": randomized_like(theirs.cell.initialize_carry((B, F), nnx.Rngs(0)))}
    if at_the_call:
        call |= {key: value for key, value in options.items() if key != "unroll"}
        ours = wrapped.RNN(ours.cell)
    expected = theirs(x, return_carry=True, **call)
    actual = ours(x, return_carry=True, **call)
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    assert_close(actual, expected, 1e-6)
    assert_equal(ours(x, **call), actual[1])


@every_cell
@pytest.mark.parametrize("reverse", [{}, {"reverse": True}, {"reverse": True, "keep_order": True}])
def test_lengths_as_flax_has_them(name, reverse):
    theirs = nnx.RNN(flax_cell(name), **reverse)
    x = inputs()
    carry, ys = theirs(x, seq_lengths=LENGTHS, return_carry=True)
    own_carry, own = wrapped.from_flax(theirs)(
        x.at[1, 2:].set(jnp.nan), seq_lengths=LENGTHS, return_carry=True
    )
    counts = np.arange(T) < LENGTHS[:, None]
    assert_close(own[counts], ys[counts], 1e-6)
    assert_close(own_carry, carry, 1e-6)
    assert not own[~counts].any()


@pytest.mark.parametrize("lengths", [None, LENGTHS])
@pytest.mark.parametrize("merge", [None, jnp.add])
def test_both_directions_are_flaxs(lengths, merge):
    runs = nnx.RNN(flax_cell("lstm", 3)), nnx.RNN(flax_cell("gru", 4))
    theirs = nnx.Bidirectional(*runs, **({} if merge is None else {"merge_fn": merge}))
    ours = wrapped.from_flax(theirs)
    expected = theirs(inputs(), seq_lengths=lengths, return_carry=True)
    actual = ours(inputs(), seq_lengths=lengths, return_carry=True)
    counts = np.arange(T) < (T if lengths is None else lengths[:, None])
    assert_close(actual[0], expected[0], 1e-6)
    counts = np.broadcast_to(counts, (B, T))
    assert_close(actual[1][counts], expected[1][counts], 1e-6)


@every_cell
def test_there_and_back(name):
    ours = wrapped.from_flax(flax_cell(name))
    back = wrapped.to_flax(ours)
    again = wrapped.from_flax(back)
    assert_equal(nnx.state(again), nnx.state(ours))
    x = inputs()
    assert_close(nnx.RNN(back)(x), wrapped.RNN(ours)(x), 1e-6)


@pytest.mark.parametrize(
    ("module", "says"),
    [
        (nnx.SimpleCell(F, U, residual=True, rngs=nnx.Rngs(0)), "residual=True"),
        (nnx.Linear(F, U, rngs=nnx.Rngs(0)), "got a Linear.*OptimizedLSTMCell"),
    ],
    ids=["residual", "linear"],
)
def test_what_jrnn_has_not(module, says):
    with pytest.raises(ValueError, match=says):
        wrapped.from_flax(module)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda rngs: wrapped.LSTMCell(F, U, peephole=True, rngs=rngs), "no peepholes"),
        (lambda rngs: wrapped.GRUCell(F, U, reset_after=False, rngs=rngs), "this one before"),
        (
            lambda rngs: wrapped.GRUCell(F, U, reset_after=False, use_bias=False, rngs=rngs),
            "this one before",
        ),
        (lambda rngs: wrapped.RNNCell(jrnn.SRUCell(), U, U, rngs=rngs), "got a SRUCell"),
        (lambda rngs: randomized(wrapped.GRUCell(F, U, rngs=rngs)), "not zero"),
    ],
)
def test_what_flax_has_not(make, says):
    with pytest.raises(ValueError, match=says):
        wrapped.to_flax(make(nnx.Rngs(0)))


@every_cell
def test_parameters_are_drawn_as_flax_draws_them(name):
    features, units = 60, 50
    ours = OURS[name](features, units, rngs=nnx.Rngs(1))
    theirs = wrapped.from_flax(CELLS[name](features, units, rngs=nnx.Rngs(1)))
    assert jax.tree.map(jnp.shape, ours.weights()) == jax.tree.map(jnp.shape, theirs.weights())
    assert not ours.weights().bias.any()
    np.testing.assert_allclose(ours.weights().kernel.std(), features**-0.5, rtol=0.05)
    square = ours.weights().recurrent_kernel
    np.testing.assert_allclose(square @ square.T, np.eye(units), atol=1e-6)


@every_cell
def test_module_is_the_function_to_the_bit(name):
    module = wrapped.RNN(wrapped.from_flax(flax_cell(name)), return_carry=True)
    x = inputs()
    carry, ys = module(x, seq_lengths=LENGTHS)
    state, expected = jrnn.rnn(module.cell.cell, module.cell.weights(), x, lengths=LENGTHS)
    assert_equal(ys, expected)
    assert_equal(carry, (state.cell, state.hidden) if "lstm" in name else state.hidden)
    assert_equal(module(x, initial_carry=carry), module(x, initial_carry=state))


def test_functions_of_flax_run_the_fast_gates():
    ours = wrapped.LSTMCell(F, U, gate_fn=nnx.sigmoid, activation_fn=nnx.tanh, rngs=nnx.Rngs(0))
    assert (ours.cell.recurrent_activation, ours.cell.activation) == ("sigmoid", "tanh")
    assert wrapped.from_flax(flax_cell("lstm")).cell == jrnn.LSTMCell()


def test_dtypes():
    cell = wrapped.GRUCell(F, U, dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
    assert cell.params.kernel.dtype == jnp.float32
    carry, ys = wrapped.RNN(cell, return_carry=True)(inputs())
    assert (carry.dtype, ys.dtype) == (jnp.bfloat16, jnp.bfloat16)
    half = wrapped.SimpleCell(F, U, param_dtype=jnp.float16, rngs=nnx.Rngs(0))
    assert {a.dtype for a in half.weights()} == {jnp.dtype("float16")}


def test_table():
    module = wrapped.RNN(wrapped.GRUCell(F, U, rngs=nnx.Rngs(0)))
    table = nnx.tabulate(module, inputs(), console_kwargs={"width": 150, "force_terminal": False})
    rows = [line.split()[1] for line in table.splitlines() if "cell/" in line]
    assert rows == ["cell/weights"]
    assert "recurrent_kernel: float32[4,12]" in table


def test_names_in_the_state():
    module = wrapped.RNN(wrapped.LSTMCell(F, U, peephole=True, rngs=nnx.Rngs(0)))
    paths = {path for path, _ in nnx.to_flat_state(nnx.state(module, nnx.Param))}
    names = ("kernel", "recurrent_kernel", "bias", "peephole")
    assert paths == {("cell", "params", name) for name in names}


def test_any_cell_and_given_parameters():
    cell = jrnn.StackedCell([jrnn.SRUCell(), jrnn.LSTMCell(projection=3)])
    module = wrapped.RNN(wrapped.RNNCell(cell, F, [4, 6], rngs=nnx.Rngs(0)), return_carry=True)
    carry, ys = module(inputs())
    assert jax.tree.map(jnp.shape, carry) == ((B, 4), ((B, 6), (B, 3)))
    given = wrapped.RNN(wrapped.RNNCell(cell, params=module.cell.weights()), return_carry=True)
    assert_equal(given(inputs()), (carry, ys))
    assert_equal(module(inputs(), initial_carry=carry)[1], given(inputs(), initial_carry=carry)[1])
    with pytest.raises(ValueError, match="in_features, hidden_features and rngs"):
        wrapped.RNNCell(cell, F, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="tuple of 2 is needed"):
        module(inputs(), initial_carry=carry[:1])


def test_carry_init():
    cell = wrapped.LSTMCell(F, U, rngs=nnx.Rngs(0))
    c, h = cell.initialize_carry((B, F), nnx.Rngs(1), nnx.initializers.normal())
    assert c.shape == h.shape == (B, U)
    assert (c != h).all()
    with pytest.raises(ValueError, match="needs rngs"):
        cell.initialize_carry((B, F), carry_init=nnx.initializers.normal())


@pytest.mark.parametrize("name", ["SimpleRNN", "GRU", "LSTM", "SRU"])
def test_layers_by_name(name):
    kind = getattr(wrapped, name)
    module = kind(F, U, rngs=nnx.Rngs(0), reverse=True, keep_order=True, activation_fn=nnx.relu)
    function = {"SimpleRNN": jrnn.simple_rnn}.get(name) or getattr(jrnn, name.lower())
    cell = module.cell.cell
    assert cell.activation is nnx.relu
    expected = function(module.cell.weights(), inputs(), cell=cell, reverse=True)
    assert_equal(module(inputs()), expected[1])
    assert_equal(module(inputs(), return_carry=True)[1], expected[1])


@pytest.mark.parametrize(("kernel_size", "image"), [((3,), (6,)), ((3, 2), (6, 5))])
def test_conv_lstm(kernel_size, image):
    module = wrapped.ConvLSTM(2, 3, kernel_size, rngs=nnx.Rngs(0), return_carry=True)
    films = inputs(shape=(B, T, *image, 2))
    (c, h), ys = module(films)
    assert ys.shape == (B, T, *image, 3)
    cell = module.cell.cell
    state, expected = jrnn.conv_lstm(module.cell.weights(), films, cell=cell)
    assert_equal((c, h, ys), (state.cell, state.hidden, expected))
    assert module.cell.num_feature_axes == len(image) + 1


def test_an_sru_has_no_recurrent_kernel():
    with pytest.raises(TypeError, match="recurrent_kernel_init"):
        wrapped.SRU(F, U, recurrent_kernel_init=nnx.initializers.zeros, rngs=nnx.Rngs(0))


def test_what_flax_takes_too():
    cell = wrapped.LSTMCell(F, U, carry_init=nnx.initializers.normal(), rngs=nnx.Rngs(0))
    assert isinstance(cell, nnx.RNNCellBase)
    module = wrapped.RNN(cell, rngs=nnx.Rngs(1), return_carry=True)
    stream = nnx.Rngs(1).carry.fork()
    starts = [cell.initialize_carry((B, F), stream) for _ in range(2)]
    for start in starts:
        assert_equal(module(inputs()), module(inputs(), initial_carry=start))
    given = module(inputs(), rngs=nnx.Rngs(2))
    start = cell.initialize_carry((B, F), nnx.Rngs(2).carry.fork())
    assert_equal(given, module(inputs(), initial_carry=start))
    assert (wrapped.RNN(cell)(inputs()) != given[1]).any()
    with pytest.raises(ValueError, match="needs rngs"):
        wrapped.RNN(cell, rngs=False)(inputs())


def test_streams_are_kept_where_something_is_drawn():
    module = wrapped.LSTM(F, U, rngs=nnx.Rngs(params=0))
    assert not jax.tree.leaves(nnx.state(module, nnx.RngState))
    dropped = jrnn.DropoutCell(jrnn.LSTMCell(), dropout=0.4)
    runs = [wrapped.RNN(wrapped.RNNCell(dropped, F, U, rngs=nnx.Rngs(0))) for _ in range(2)]
    both = wrapped.Bidirectional(*runs, rngs=nnx.Rngs(5))
    assert (both(inputs()) != both(inputs())).any()


@pytest.mark.parametrize("name", ["dtype", "param_dtype"])
def test_a_dtype_of_integers(name):
    with pytest.raises(ValueError, match=f"GRUCell: {name} is int"):
        wrapped.GRUCell(F, U, rngs=nnx.Rngs(0), **{name: jnp.int32})


@pytest.mark.parametrize(
    ("cell", "carry", "says"),
    [
        (wrapped.GRUCell, (np.zeros((B, U)),), "GRUCell holds tuple"),
        (wrapped.SRUCell, None, "SRUCell holds NoneType"),
        (wrapped.LSTMCell, (np.zeros((B, U)), None), "LSTMCell holds ndarray, NoneType"),
    ],
)
def test_a_carry_of_no_arrays(cell, carry, says):
    with pytest.raises(ValueError, match=says):
        cell(F, U, rngs=nnx.Rngs(0))(carry, inputs()[:, 0])


def test_first_carries_that_are_drawn_are_kept_in_conversion():
    def make(kind, seed):
        cell = kind(F, U, carry_init=nnx.initializers.normal(), rngs=nnx.Rngs(seed))
        return nnx.RNN(randomized(cell, seed), rngs=nnx.Rngs(seed))

    for theirs in (
        make(nnx.LSTMCell, 3),
        nnx.Bidirectional(make(nnx.LSTMCell, 3), make(nnx.GRUCell, 4), rngs=nnx.Rngs(9)),
    ):
        ours = wrapped.from_flax(theirs)
        back = wrapped.to_flax(ours) if isinstance(ours, wrapped.RNN) else None
        for _ in range(2):
            expected = theirs(inputs())
            assert_close(ours(inputs()), expected, 1e-6)
            if back is not None:
                assert_close(back(inputs()), expected, 1e-6)


@pytest.mark.parametrize("reverse", [False, True])
def test_lengths_out_of_range_where_they_are_traced(reverse):
    module = wrapped.GRU(F, U, rngs=nnx.Rngs(0), reverse=reverse)
    run = nnx.jit(lambda module, x, lengths: module(x, seq_lengths=lengths))
    ys = run(module, inputs(), jnp.array([T + 3, T, -2]))
    assert_equal(ys[:2], module(inputs())[:2])
    assert not ys[2].any()


def test_sizes_in_a_list_under_jit():
    cell = jrnn.StackedCell([jrnn.SRUCell(), jrnn.LSTMCell()])
    module = wrapped.RNN(wrapped.RNNCell(cell, F, [4, 6], rngs=nnx.Rngs(0)))
    ys = nnx.jit(lambda module, x: module(x))(module, inputs())
    assert_close(ys, module(inputs()), 1e-6)


@every_cell
def test_axis_names_are_kept_in_conversion(name):
    def names(module):
        found = [variable.get_metadata().get("out_sharding") for _, variable in flat(module)]
        return sorted(set(found), key=str)

    def flat(module):
        return nnx.to_flat_state(nnx.state(module, nnx.Param))

    given = {
        "kernel_metadata": {"out_sharding": (None, "model")},
        "recurrent_kernel_metadata": {"out_sharding": ("data", "model")},
        "bias_metadata": {"out_sharding": ("model",)},
    }
    with nnx.use_eager_sharding(False):
        theirs = CELLS[name](F, U, rngs=nnx.Rngs(0), **given)
        ours = wrapped.from_flax(theirs)
        back = wrapped.to_flax(ours)
    kinds = {path[-1]: variable.get_metadata()["out_sharding"] for path, variable in flat(ours)}
    bias = (None, "model") if name == "gru" else ("model",)
    assert kinds == {
        "kernel": (None, "model"),
        "recurrent_kernel": ("data", "model"),
        "bias": bias,
    }
    assert names(back) == names(theirs)
