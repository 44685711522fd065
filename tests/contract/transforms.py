"""Columns of the contract grid: JAX's transformations."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
from jax import export
from jax.test_util import check_grads

from tests.cases import assert_close
from tests.contract.reference import (
    check,
    column,
    compiled,
    differentiated,
    directions,
    inner,
    loss_of,
    plain,
    reference,
)
from tests.contract.subjects import arguments


@column("Transformations", "jit")
def jit(s):
    """`jax.jit` of the outputs and the gradient together."""
    check(compiled(s), s)


@column("Transformations", "no jit")
def no_jit(s):
    """Every operation for itself, under `jax.disable_jit()`."""
    with jax.disable_jit():
        check(differentiated(s.call), s)


@column("Transformations", "vmap rows")
def vmap_rows(s):
    """`jax.vmap` over the rows of state and input, the parameters shared; outputs and gradient."""

    def run(params, state, x):
        rows = jax.tree.map(lambda leaf: leaf[:, None], (state, x))
        outputs = jax.vmap(s.call, (None, 0, 0))(params, *rows)
        return jax.tree.map(lambda leaf: leaf[:, 0], outputs)

    check(jax.jit(differentiated(run)), s, rows=1)


@column("Transformations", "vmap params")
def vmap_params(s):
    """`jax.vmap` over two sets of parameters, an ensemble; outputs and gradients."""
    (one, state, x), (other, *_) = arguments(s), arguments(s, seed=1)
    both = jax.tree.map(lambda *leaves: np.stack(leaves), one, other)
    together = jax.jit(jax.vmap(differentiated(s.call), (0, None, None)))(both, state, x)
    for k, params in enumerate((one, other)):
        own = jax.tree.map(lambda leaf: leaf[k], together)  # noqa: B023
        assert_close(own, plain(s)(params, state, x))


@column("Transformations", "remat")
def remat(s):
    """The gradient through `jax.checkpoint`."""
    check(jax.jit(differentiated(jax.checkpoint(s.call))), s)


@column("Transformations", "scan over it")
def scan_over_it(s):
    """`lax.scan` whose body calls it: step by step with the state carried on, or row by row."""

    def through_time(params, state, xs):
        axis = s.time_axis
        chunks = jnp.stack(jnp.split(jnp.asarray(xs), xs.shape[axis], axis))

        def body(state, chunk):
            outputs = s.call(params, state, chunk)
            return s.next_state(outputs), outputs

        state = jax.tree.map(jnp.asarray, state)
        return jax.lax.scan(body, state, chunks)[0]

    def through_rows(params, state, x):
        rows = jax.tree.map(lambda leaf: jnp.asarray(leaf)[:, None], (state, x))
        outputs = jax.lax.scan(lambda _, row: (None, s.call(params, *row)), None, rows)[1]
        return jax.tree.map(lambda leaf: leaf[:, 0], outputs)

    if s.time_axis is None or s.next_state is None:
        check(jax.jit(differentiated(through_rows)), s, rows=1)
        return

    def last_state(*args):
        return s.next_state(s.plain(*args))

    args = arguments(s)
    assert_close(
        jax.jit(differentiated(through_time))(*args), jax.jit(differentiated(last_state))(*args)
    )


@column("Transformations", "eval_shape")
def eval_shape(s):
    """`jax.eval_shape` says the shapes and dtypes that come out."""
    known = reference(s)
    shapes = jax.eval_shape(s.call, *known.args)
    said = [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(shapes)]
    wanted = [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(known.outputs)]
    assert said == wanted, "wrong shape or dtype"


@column("Transformations", "export")
def exported(s):
    """`jax.export`, to bytes and back, jrnn's own types in and out: outputs and gradient."""
    known = reference(s)
    written = export.export(jax.jit(differentiated(s.call)))(*known.args).serialize()
    read = export.deserialize(written).call(*known.args)
    assert_close(read, (known.outputs, known.gradient))


@column("Transformations", "donation")
def donation(s):
    """The state is donated (`donate_argnums`), and its buffers are gone afterwards."""
    known = reference(s)
    params, state, x = jax.tree.map(jnp.array, known.args)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Some donated buffers")  # no output of that shape
        run = jax.jit(lambda *args: (s.call(*args), args[1]), donate_argnums=1)
        outputs, _ = run(params, state, x)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state))
    assert_close(outputs, known.outputs)


@column("Derivatives", "grad")
def grad(s):
    """`jax.grad` of all arguments against numerical derivatives (`check_grads`, 1e-6)."""
    known = reference(s)
    check_grads(jax.jit(s.call), known.args, 1, ("rev",), 1e-6, 1e-6, eps=1e-5)


@column("Derivatives", "jvp")
def jvp(s):
    """`jax.jvp` of all arguments, against the gradient."""
    known = reference(s)
    moved = directions(known.args)

    def run(args, moved):
        return jax.jvp(lambda *args: loss_of(s.call)(*args)[0], args, moved)[1]

    assert_close(jax.jit(run)(known.args, moved), inner(known.gradient, moved))


@column("Derivatives", "jacfwd")
def jacfwd(s):
    """`jax.jacfwd` of all outputs by the input, against the gradient."""
    known = reference(s)
    jacobian = jax.jit(jax.jacfwd(s.call, 2))(*known.args)
    found = jnp.zeros_like(known.args[2])
    for output, one in zip(jax.tree.leaves(known.outputs), jax.tree.leaves(jacobian), strict=True):
        found += jnp.tensordot(jnp.cos(output), one, output.ndim)
    assert_close(found, known.gradient[2])


@column("Derivatives", "hessian")
def hessian(s):
    """`jax.hessian` by the input, times a direction, against differences of the plain gradient."""
    params, state, x = reference(s).args
    moved, step = directions(x), 1e-4
    ahead, behind = (plain(s)(params, state, x + sign * step * moved)[1][2] for sign in (1, -1))
    second = jax.jit(jax.hessian(lambda *args: loss_of(s.call)(*args)[0], 2))(params, state, x)
    found = jnp.tensordot(second, moved, x.ndim)
    assert_close(found, (ahead - behind) / (2 * step), 1e-6)


@column("Derivatives", "linearize")
def linearize(s):
    """`jax.linearize`: the outputs, and the linear part against the gradient."""
    known = reference(s)
    moved = directions(known.args)
    outputs, linear = jax.linearize(s.call, *known.args)
    assert_close(outputs, known.outputs)
    weights = jax.tree.map(jnp.cos, outputs)
    assert_close(inner(weights, linear(*moved)), inner(known.gradient, moved))
