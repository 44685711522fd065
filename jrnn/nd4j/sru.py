"""``sru``, ``sru_cell`` and the bidirectional ``sru_bi``."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jrnn.cells.base import Masks
from jrnn.cells.meshes import whole
from jrnn.cells.sru import SRUCell, SRUState
from jrnn.layers.recurrent import rnn
from jrnn.nd4j.arguments import checked, expect, needed, one_step, sequence
from jrnn.nd4j.convert import sru_to_params
from jrnn.nd4j.weights import HiddenAndCell, SRUWeights
from jrnn.scan import Checkpoint


def sru_cell(x: ArrayLike, c_last: ArrayLike, weights: SRUWeights) -> HiddenAndCell:
    """Returns one step of a simple recurrent unit as (h, c).

    ::

        z, f, r = split(x @ weights, 3)
        f, r = sigmoid(f + bias_f), sigmoid(r + bias_r)
        c = f * c_last + (1 - f) * z
        h = r * tanh(c) + (1 - r) * x

    Args:
        x: Input [B, K]; there are as many units as features.
        c_last: The state before, [B, K].
        weights: ``weights`` [K, 3K], or its transpose, and ``bias`` [2K].

    Returns:
        h and c, each [B, K].

    Raises:
        ValueError: If a shape does not fit.

    Differences: upstream's Java method returns h alone.

    Source: ND4J, RNN operations, sruCell; Lei et al., arXiv:1709.02755.
    """
    x = one_step("sru_cell", x)
    weights = _checked("sru_cell", weights, x.shape[-1])
    return _sru_cell(x, needed("sru_cell", "c_last", c_last, x.shape), weights)


@jax.jit
def _sru_cell(x, c_last, weights):
    state, h = SRUCell()(sru_to_params(weights), SRUState(c_last), x)
    return HiddenAndCell(h, state.cell)


def sru(
    x: ArrayLike,
    initial_c: ArrayLike,
    weights: SRUWeights,
    *,
    mask: ArrayLike | None = None,
    checkpoint: Checkpoint = None,
) -> HiddenAndCell:
    """Returns ``sru_cell`` over a sequence: h and c of every step.

    Args:
        x: Input [B, K, T].
        initial_c: Initial state [B, K].
        weights: ``weights`` [3K, K], or its transpose, and ``bias`` [2K].
        mask: A factor of x, [B, K], the same at every step: before the product and in the highway
            term alike. For dropout give 0 and 1 / (1 - rate): nothing is scaled here.
        checkpoint: As for ``jrnn.rnn``.

    Returns:
        h and c, each [B, K, T].

    Raises:
        ValueError: If a shape does not fit.

    Differences: the page says that this is one step, of x [B, K] and weights [K, 3K]; the library
    computes a sequence, and so does jrnn. Upstream's Java method returns h alone, and fails with
    a mask outside a graph.

    Source: ND4J, RNN operations, sru; Lei et al., arXiv:1709.02755.
    """
    x = sequence("sru", x)
    batch, features, _ = x.shape
    weights = _checked("sru", weights, features)
    initial_c = needed("sru", "initial_c", initial_c, (batch, features))
    mask = None if mask is None else needed("sru", "mask", mask, (batch, features))
    return _sru(x, initial_c, weights, mask, checkpoint)


@functools.partial(jax.jit, static_argnums=4)
def _sru(x, initial_c, weights, mask, checkpoint):
    xs = x.transpose(2, 0, 1)
    xs = xs if mask is None else xs * mask[None]
    states, ys = rnn(
        SRUCell(),
        sru_to_params(weights),
        xs,
        time_major=True,
        initial_state=SRUState(initial_c),
        return_all_states=True,
        checkpoint=checkpoint,
    )
    return HiddenAndCell(ys.transpose(1, 2, 0), states.cell.transpose(1, 2, 0))


def sru_bi(
    x: ArrayLike,
    initial_c: ArrayLike,
    weights: SRUWeights,
    *,
    mask: ArrayLike | None = None,
    checkpoint: Checkpoint = None,
) -> HiddenAndCell:
    """Returns an SRU of K units in each direction: h and c of every step.

    The last axis holds K units that go forward, then K that go backward, and every unit sees all
    2K features. For unit j of the 2K::

        x = x * mask
        z, f, r = (x @ weights)[3 * j : 3 * j + 3]
        f, r = sigmoid(f + bias[j]), sigmoid(r + bias[2 * K + j])
        c = f * c + (1 - f) * z
        h = r * tanh(c) * mask + (1 - r) * x[j]

    Args:
        x: Input [T, B, 2K].
        initial_c: Initial states [B, 2K].
        weights: ``weights`` [2K, 6K], z, f and r of a unit side by side, and ``bias`` [4K].
        mask: [B, 2K], the same at every step; it multiplies x and, other than in ``sru``, also
            tanh(c). Unscaled.
        checkpoint: As for ``jrnn.rnn``.

    Returns:
        h and c, each [T, B, 2K], at their own steps.

    Raises:
        ValueError: If a shape does not fit.

    Differences: the page has no such op. Upstream's own gradients of x and of the bias are wrong.

    Source: libnd4j, ``sru_bi``.
    """
    x = sequence("sru_bi", x)
    _, batch, size = x.shape
    weights = checked("sru_bi", weights, SRUWeights)
    if size % 2:
        raise ValueError(
            f"jrnn.nd4j.sru_bi: x has {size} features, but an even number is needed: half of the "
            "units go forward, half backward"
        )
    expect("sru_bi", (size, 3 * size), weights=weights.weights)
    expect("sru_bi", (2 * size,), bias=weights.bias)
    initial_c = needed("sru_bi", "initial_c", initial_c, (batch, size))
    mask = None if mask is None else needed("sru_bi", "mask", mask, (batch, size))
    return _sru_bi(x, initial_c, weights, mask, checkpoint)


@functools.partial(jax.jit, static_argnums=4)
def _sru_bi(x, initial_c, weights, mask, checkpoint):
    x, initial_c = whole(x, -1), whole(initial_c, -1)  # each half may be too small to be split
    x = x if mask is None else x * whole(mask, -1)[None]
    products = whole(x @ weights.weights, -1).reshape(*x.shape, 3)
    biases = whole(weights.bias, -1).reshape(2, -1)
    forget = jax.nn.sigmoid(products[..., 1] + biases[0, None, None])
    reset = jax.nn.sigmoid(products[..., 2] + biases[1, None, None])
    given = products[..., 0], forget, reset, x
    units = x.shape[-1] // 2
    cells = [
        rnn(
            _Projected(),
            None,
            jax.tree.map(lambda leaf: leaf[..., half], given),  # noqa: B023
            time_major=True,
            initial_state=SRUState(initial_c[..., half]),
            reverse=reverse,
            return_all_states=True,
            checkpoint=checkpoint,
        )[0].cell
        for half, reverse in ((slice(units), False), (slice(units, None), True))
    ]
    c = jnp.concatenate(cells, axis=-1)
    squashed = jnp.tanh(c) if mask is None else jnp.tanh(c) * whole(mask, -1)[None]
    return HiddenAndCell(reset * squashed + (1 - reset) * x, c)


class _Projected(SRUCell):
    """An SRU whose input is what ``SRUCell.project`` returns."""

    def project(self, params: Any, xs: Any, *, dropout: Masks = ()) -> Any:
        return xs


def _checked(who: str, weights: SRUWeights, features: int) -> SRUWeights:
    weights = checked(who, weights, SRUWeights)
    kernel = weights.weights
    if kernel.shape != (3 * features, features):  # either way round
        expect(who, (features, 3 * features), weights=kernel)
    if weights.bias.shape != (1, 2 * features):  # as DL4J's row vectors
        expect(who, (2 * features,), bias=weights.bias)
    return weights
