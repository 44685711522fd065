"""What the laws are tried on: cells, shapes, random arrays; and a loop by hand to compare with."""

import functools
from typing import Any, NamedTuple

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st

import jrnn
from tests.contract.subjects import shapes_of

CELLS = {
    "simple_rnn": jrnn.SimpleRNNCell(),
    "gru": jrnn.GRUCell(),
    "gru-reset_before": jrnn.GRUCell(reset_after=False),
    "lstm": jrnn.LSTMCell(),
    "lstm-peephole": jrnn.LSTMCell(peephole=True),
    "lstm-projection": jrnn.LSTMCell(projection=2),
    "sru": jrnn.SRUCell(),
    "conv_lstm": jrnn.ConvLSTMCell(rank=1, kernel_size=2, padding="same"),
    "stacked": jrnn.StackedCell([jrnn.GRUCell(), jrnn.LSTMCell()]),
}


class Setting(NamedTuple):
    """Sizes and choices: what is compiled for. Few, so that most examples compile nothing."""

    B: int
    T: int
    F: int
    U: int
    reverse: bool = False
    time_major: bool = False
    implementation: Any = "auto"
    fresh: bool = False  # no state is given
    resets: bool = False


SETTINGS = [
    Setting(3, 5, 2, 4, resets=True),
    Setting(3, 4, 3, 3, reverse=True, time_major=True, implementation="hoisted"),
    Setting(1, 6, 2, 3, time_major=True, implementation="in_loop", fresh=True),
    Setting(2, 6, 4, 2, reverse=True, implementation="chunked", resets=True),
    Setting(3, 1, 2, 3, reverse=True, implementation="in_loop"),
    Setting(3, 0, 2, 3),
    Setting(0, 3, 3, 2, implementation="hoisted"),
]


class Problem(NamedTuple):
    """Arrays, batch first; of ``mask`` and ``lengths`` both must say that a step counts."""

    params: Any
    xs: Any
    state: Any
    mask: Any
    lengths: Any
    resets: Any

    def counts(self):
        """[B, T]: which steps count."""
        return self.mask & (np.arange(self.mask.shape[1]) < self.lengths[:, None])


def random_like(rng, shapes, batch=()):
    return jax.tree.map(lambda leaf: 0.5 * rng.normal(size=(*batch, *leaf.shape)), shapes)


def problem(seed, cell, setting, features=None) -> Problem:
    """Random arrays: weights, biases and states that are not zero, masks of any pattern."""
    rng = np.random.default_rng(seed)
    B, T = setting.B, setting.T
    params, state, x = shapes_of(cell, features or setting.F, setting.U)
    few = rng.uniform()  # as many steps count
    return Problem(
        random_like(rng, params),
        random_like(rng, x, (B, T)),
        random_like(rng, state, (B,)),
        rng.uniform(size=(B, T)) < rng.choice([few, 1.0]),
        rng.choice([0, T, rng.integers(0, T + 1)], size=B).astype(np.int32),
        rng.uniform(size=(B, T)) < 0.3,
    )


def turned(array, setting):
    """[B, T] as the setting wants it, or back."""
    return jnp.swapaxes(array, 0, 1) if setting.time_major else array


def run(cell, setting, params, xs, state, **masks):
    """``jrnn.rnn`` with the choices of a setting, batch first in and out."""
    if not setting.resets:
        masks.pop("resets", None)
    lengths = masks.pop("lengths", None)
    final, ys = jrnn.rnn(
        cell,
        params,
        turned(xs, setting),
        initial_state=None if setting.fresh else state,
        lengths=lengths,
        reverse=setting.reverse,
        time_major=setting.time_major,
        implementation=setting.implementation,
        **{name: turned(mask, setting) for name, mask in masks.items()},
    )
    return final, turned(ys, setting)


def loss(outputs):
    return sum(jnp.sin(leaf).sum() for leaf in jax.tree.leaves(outputs))


def differentiated(function):
    """``(outputs, gradient)`` of a function of params, xs and state, and of what follows them."""

    def with_outputs(*args):
        outputs = function(*args)
        return loss(outputs), outputs

    def both(*args):
        (_, outputs), gradient = jax.value_and_grad(with_outputs, (0, 1, 2), has_aux=True)(*args)
        return outputs, gradient

    return both


def by_hand(cell, setting, given: Problem):
    """A function of params, xs and state: rows one after the other, steps that count alone."""
    counts, resets = given.counts(), given.resets

    def rows(params, xs, state):
        shape = y_shape(cell, params, xs)
        ys = jnp.zeros((setting.B, setting.T, *shape))
        finals = []
        for b in range(setting.B):
            zero = cell.initial_state(params, cell.project(params, jnp.zeros(xs.shape[2:])))
            now = zero if setting.fresh else jax.tree.map(lambda leaf: leaf[b], state)  # noqa: B023
            for t in sorted(range(setting.T), reverse=setting.reverse):
                border = t + 1 if setting.reverse else t
                if setting.resets and border < setting.T and resets[b, border]:
                    now = zero
                if counts[b, t]:
                    now, y = cell(params, now, xs[b, t])
                    ys = ys.at[b, t].set(y)
            finals.append(now)
        if not finals:
            return state, ys
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *finals), ys

    return rows


def y_shape(cell, params, xs):
    def one(params):
        z = cell.project(params, jnp.zeros(xs.shape[2:]))
        return cell.step(params, cell.initial_state(params, z), z)[1]

    return jax.eval_shape(one, params).shape


seeds = st.integers(0, 2**32 - 1)
cells = st.sampled_from(list(CELLS.values()))
settings = st.sampled_from(SETTINGS)


@functools.cache
def compiled(function, *static):
    """The function with its static arguments, jitted; kept, so that an example may reuse it."""
    return jax.jit(functools.partial(function, *static))


# Nearly all of an example's time is XLA's, so that every run has to do with few.
full = hypothesis.settings().max_examples >= 200
law = hypothesis.settings(max_examples=200 if full else 3, deadline=None)
