"""What a cell says when it is given what does not fit: who, expected, got."""

import jax
import jax.numpy as jnp
import pytest

import jrnn
from jrnn import GRUCell, LSTMCell, SimpleRNNCell, SRUCell, StackedCell

KEY = jax.random.key(0)
CELLS = {
    "SimpleRNNCell": SimpleRNNCell(),
    "GRUCell": GRUCell(),
    "LSTMCell": LSTMCell(),
    "SRUCell": SRUCell(),
}
every_cell = pytest.mark.parametrize(("who", "cell"), CELLS.items(), ids=CELLS)


def fails(*parts):
    """Expects a ValueError that says all the parts, in this order."""
    return pytest.raises(ValueError, match="(?s)" + ".*".join(parts))


@every_cell
@pytest.mark.parametrize("shape", [(3, 5), (5,), (), (2, 3, 1)], ids=str)
def test_wrong_features(who, cell, shape):
    params = cell.init(KEY, 2, 4)
    with fails(who, r"x has shape \(" + ", ".join(map(str, shape)), "needs 2 features"):
        cell.project(params, jnp.ones(shape))


@every_cell
@pytest.mark.parametrize("dtype", ["int32", "bool", "uint8", "complex64"])
def test_input_that_is_not_floating(who, cell, dtype):
    with fails(who, f"x has dtype {dtype}", "floating-point", "convert"):
        cell.project(cell.init(KEY, 2, 4), jnp.ones((3, 2), dtype))


@every_cell
def test_bias_there_or_not(who, cell):
    params = cell.init(KEY, 2, 4)
    with fails(who, "bias is None", r"needs shape \("):
        cell.project(params._replace(bias=None), jnp.ones((3, 2)))
    without = type(cell)(use_bias=False)
    with fails(who, r"bias has shape \(", "use_bias=False needs None"):
        without.project(params, jnp.ones((3, 2)))


@pytest.mark.parametrize(
    ("who", "cell", "name"),
    [
        *((who, cell, "bias") for who, cell in CELLS.items()),
        *((who, cell, "recurrent_kernel") for who, cell in CELLS.items() if who != "SRUCell"),
    ],
)
def test_weights_of_another_size(who, cell, name):
    params = cell.init(KEY, 2, 4)
    other = cell.init(KEY, 2, 5)
    mixed = params._replace(**{name: getattr(other, name)})
    got, needed = getattr(other, name).shape, getattr(params, name).shape
    with fails(who, f"{name} is shape \\{str(got)[:-1]}", f"shape \\{str(needed)[:-1]}"):
        cell.project(mixed, jnp.ones((3, 2)))


@pytest.mark.parametrize("reset_after", [False, True])
def test_gru_bias_of_the_other_form(reset_after):
    cell, other = GRUCell(reset_after=reset_after), GRUCell(reset_after=not reset_after)
    got, needed = (r"\(12,\)", r"\(2, 12\)") if reset_after else (r"\(2, 12\)", r"\(12,\)")
    with fails("GRUCell", f"bias is shape {got}", f"needs shape {needed}"):
        cell.project(other.init(KEY, 2, 4), jnp.ones((3, 2)))


@pytest.mark.parametrize(
    ("name", "options", "needed"),
    [("peephole", {"peephole": True}, r"\(3, 4\)"), ("projection", {"projection": 4}, r"\(4, 4\)")],
)
def test_lstm_extra_weights_there_or_not(name, options, needed):
    plain, extended = LSTMCell(), LSTMCell(**options)
    x = jnp.ones((3, 2))
    with fails("LSTMCell", f"hold a {name}", r"shape \(", "without one", f"{name}="):
        plain.project(extended.init(KEY, 2, 4), x)
    with fails("LSTMCell", f"{name} is None", f"needs shape {needed}"):
        extended.project(plain.init(KEY, 2, 4), x)


def test_lstm_projection_of_another_size():
    with fails("LSTMCell", r"recurrent_kernel is shape \(3, 16\)", r"needs shape \(5, 16\)"):
        LSTMCell(projection=5).project(LSTMCell(projection=3).init(KEY, 2, 4), jnp.ones(2))


@every_cell
@pytest.mark.parametrize("size", [0, -1, 2.0, "4", True, None])
@pytest.mark.parametrize("name", ["features", "units"])
def test_sizes(who, cell, size, name):
    sizes = {"features": 2, "units": 4, name: size}
    with fails(f"{who}.init", f"{name} is {size!r}", "positive integer"):
        cell.init(KEY, **sizes)


@pytest.mark.parametrize("projection", [0, -2, 1.5, True])
def test_projection_size(projection):
    with fails("LSTMCell", f"projection is {projection!r}", "positive integer"):
        LSTMCell(projection=projection)


@pytest.mark.parametrize("clip", [0, -1.0, float("nan")])
@pytest.mark.parametrize("name", ["cell_clip", "projection_clip"])
def test_clip(name, clip):
    with fails("LSTMCell", f"{name} is {clip}", "above 0"):
        LSTMCell(**{"projection": 3, name: clip})


def test_clip_of_no_projection():
    with fails("LSTMCell", "projection_clip needs a projection", "cell_clip"):
        LSTMCell(projection_clip=1.0)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (SimpleRNNCell, "activation"),
        (GRUCell, "activation"),
        (GRUCell, "recurrent_activation"),
        (LSTMCell, "activation"),
        (LSTMCell, "recurrent_activation"),
        (SRUCell, "activation"),
    ],
)
def test_unknown_activation_fails_when_the_cell_is_made(make, name):
    with fails("tanhh", "did you mean 'tanh'"):
        make(**{name: "tanhh"})


@every_cell
def test_unknown_initializer(who, cell):
    with fails("'glorot'", "names: .*glorot_uniform"):
        type(cell)(kernel_initializer="glorot").init(KEY, 2, 4)


def test_stack():
    with fails("StackedCell", "empty", "at least one"):
        StackedCell([])
    two = StackedCell([GRUCell(), GRUCell()])
    with fails("StackedCell.init", "units has 3 entries", "2 cells"):
        two.init(KEY, 2, [4, 4, 4])
    with fails("StackedCell", "params has 1 entries", "2 cells"):
        two.project(two.init(KEY, 2, 4)[:1], jnp.ones((3, 2)))
    with fails("GRUCell.init", "units is 0", "positive integer"):
        two.init(KEY, 2, [4, 0])


def test_params_of_another_cell_are_told_by_name():
    params = jrnn.GRUCell().init(jax.random.key(0), 3, 4)
    with pytest.raises(ValueError, match="params is a GRUParams, but LSTMParams is needed"):
        jrnn.lstm(params, jnp.ones((2, 3, 3)))
    with pytest.raises(ValueError, match="params is a dict"):
        jrnn.gru(params._asdict(), jnp.ones((2, 3, 3)))


def test_a_state_of_none_is_the_initial_state():
    cell = jrnn.LSTMCell()
    params = cell.init(jax.random.key(0), 3, 4)
    x = jnp.ones((2, 3))
    zero = jrnn.LSTMState(jnp.zeros((2, 4)), jnp.zeros((2, 4)))
    assert jnp.array_equal(cell(params, None, x)[1], cell(params, zero, x)[1])


def test_a_state_of_another_kind_is_named():
    cell = jrnn.GRUCell()
    params = cell.init(jax.random.key(0), 3, 4)
    x, hidden = jnp.ones((2, 3)), jnp.zeros((2, 4))
    with pytest.raises(ValueError, match=r"GRUCell: state is one array of shape \(2, 4\)"):
        cell(params, hidden, x)
    with pytest.raises(ValueError, match="state is a LSTMState with 2 arrays, but the cell needs"):
        cell(params, jrnn.LSTMState(hidden, hidden), x)


def test_masks_of_no_product():
    with fails("SRUCell", "recurrent dropout masks a product", "drops_state=True"):
        SRUCell().step(None, None, None, dropout=(jnp.ones(4),))


WRAPPERS = [
    jrnn.NormCell(GRUCell()),
    jrnn.LayerNormCell(GRUCell()),
    jrnn.ProjectionCell(GRUCell(), 3),
    jrnn.ResidualCell(GRUCell()),
    jrnn.DropConnectCell(GRUCell(), 0.5),
    jrnn.NormCell(jrnn.DropoutCell(GRUCell(), 0.5)),
    jrnn.ProjectionCell(jrnn.DropoutCell(GRUCell(), 0.5), 3),
]


@pytest.mark.parametrize("params", [{"a": 1}, None, SRUCell().init(KEY, 2, 4)], ids=type)
@pytest.mark.parametrize("cell", WRAPPERS, ids=lambda cell: type(cell).__name__)
def test_wrong_params_of_wrapped_cells(cell, params):
    """Whichever method sees them first: the projection, or what draws from a key."""
    with fails(type(params).__name__, "Params is needed"):
        jrnn.rnn(cell, params, jnp.ones((3, 5, 2)))
    if cell.is_random:
        with pytest.raises(ValueError, match=r"Params is needed|have no recurrent_kernel"):
            jrnn.rnn(cell, params, jnp.ones((3, 5, 2)), key=KEY)
    if hasattr(cell, "params_type"):
        with fails(type(cell).__name__, "inner cell's"):
            jrnn.rnn(cell, params, jnp.ones((3, 5, 2)))
        with fails("Params is needed"):
            jrnn.rnn(cell, cell.init(KEY, 2, 4)._replace(params=params), jnp.ones((3, 5, 2)))
