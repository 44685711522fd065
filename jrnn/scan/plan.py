"""Which way a loop runs: a static rule, from shapes, found by measurement (docs/performance.md)."""

import math
from typing import Any, Literal

import jax

from jrnn.scan.blocks import Plan

Implementation = Literal["auto", "hoisted", "chunked", "in_loop"]
IMPLEMENTATIONS = ("auto", "hoisted", "chunked", "in_loop")
Checkpoint = Literal["sqrt"] | int | None

_HOISTED_BYTES = 8 * 2**20  # a larger projection of all steps is fetched from memory, not caches
_ELEMENTWISE_BYTES = 28 * 2**20  # ... which pays up to here where no step has a product of its own
_CHUNK_BYTES = 2 * 2**20  # about a core's second cache
_GRADIENT_ROWS = 1024, 4096  # fewest and most steps × rows that the gradient takes at once
_DEFAULT_GRADIENT_ROWS = 16384  # ... on other backends
_SHARED_ROWS = 16  # two directions of fewer rows than this run faster one after the other
_SHARED_WEIGHTS = 2**20  # ... and so do those of kernels that do not fit into a core's cache
_PRODUCT_WEIGHTS = 2**19  # so many weights make computing products again dearer than keeping them
_NARROW = 8  # ... and so do more features than this, of a cell with one gate


def make_plan(
    implementation: Implementation,
    reverse: bool,
    unroll: int,
    xs: Any,
    z: Any,
    state: Any,
    *,
    elementwise: bool = False,
    checkpoint: Checkpoint = None,
) -> Plan:
    """Returns the plan for a loop over ``xs``, given one step's projection and state.

    ``elementwise`` says that a step has no product with the state.
    """
    sizes = {size for leaf in jax.tree.leaves((xs, z, state)) for size in leaf.shape}
    steps = jax.tree.leaves(xs)[0].shape[0]
    segment = _segment(checkpoint, steps)
    if not all(isinstance(size, int) for size in sizes):  # symbolic: nothing to decide by
        block = 1 if implementation == "in_loop" else None
        return Plan(reverse=reverse, unroll=unroll, block=block, segment=segment)
    widest = max(jax.tree.leaves(xs), key=lambda leaf: leaf.size)
    _, *batch, features = (*widest.shape, 1) if widest.ndim == 1 else widest.shape
    steps = steps if segment is None else min(steps, segment)
    rows, features = max(1, math.prod(batch)), max(1, features)
    gates, units = sum(leaf.size for leaf in jax.tree.leaves(z)) // rows, _widest(state) // rows
    step_bytes = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(z))
    backend = jax.default_backend()
    by_hand = implementation
    if implementation == "auto" and elementwise and backend == "cpu":
        implementation = "chunked" if steps * step_bytes > _ELEMENTWISE_BYTES else "hoisted"
    elif implementation == "auto":
        large = steps * step_bytes > _HOISTED_BYTES
        products = len(jax.tree.leaves(z))
        implementation = _choose(backend, large, rows, features, gates, products)
    chunk = max(2, _CHUNK_BYTES // max(1, step_bytes))
    gradient_rows = _DEFAULT_GRADIENT_ROWS
    if backend == "cpu":
        fewest, most = _GRADIENT_ROWS
        gradient_rows = min(most, max(fewest, rows * _CHUNK_BYTES // max(1, step_bytes)))
    return Plan(
        reverse=reverse,
        unroll=unroll,
        block={"hoisted": None, "chunked": chunk, "in_loop": 1}[implementation],
        gradient_block=max(4, gradient_rows // rows),
        save_products=backend == "cpu"
        and by_hand in ("auto", "in_loop")  # it puts the gradient's projection into the loop
        and implementation != "hoisted"
        and features <= 16 * rows
        and (
            (features + units) * gates >= _PRODUCT_WEIGHTS
            or (gates == units and features > _NARROW)
        ),
        segment=segment,
    )


def _segment(checkpoint: Checkpoint, steps: int) -> int | None:
    """Returns how many steps' states are computed again at a time.

    T / k states are kept, and going back a segment's k steps need about four times their states:
    the sum is least for half the root of T. It hardly grows nearby, and a divisor of T spares a
    copy of the input.
    """
    if checkpoint != "sqrt":
        return checkpoint
    best = max(1, round(math.sqrt(steps) / 2))
    divisors = [k for k in range(max(1, best // 2), 2 * best + 1) if steps % k == 0]
    return min(divisors, key=lambda k: abs(math.log(k / best)), default=best)


def directions_share_loop(implementation: Implementation, rows: int, weights: int) -> bool:
    """Returns whether an LSTM's two directions are faster as one loop.

    XLA on CPU runs the independent halves of a step side by side. Cells of several small products
    for each step, such as a GRU, lose more by that than they gain.
    """
    if jax.default_backend() != "cpu" or implementation != "auto":
        return False
    return rows >= _SHARED_ROWS and weights <= _SHARED_WEIGHTS


def _choose(
    backend: str, large: bool, rows: int, features: int, gates: int, products: int
) -> Implementation:
    """Returns what pays.

    A step's own products pack the whole kernel again, for few rows; hoisting writes and reads
    the gates of every step instead, for few features.
    """
    if backend != "cpu":
        return "hoisted"
    small = products == 1 and features * gates < 2**16
    if features < (8 if small else 4) * rows:
        return "in_loop"
    return "chunked" if large else "hoisted"


def _widest(tree: Any) -> int:
    return max((leaf.size for leaf in jax.tree.leaves(tree)), default=0)
