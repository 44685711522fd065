"""The contract of a cell: one step of a recurrent network, in two halves."""

import abc
import numbers
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jrnn.cells.meshes import whole

Params = Any
State = Any
Masks = Sequence[jax.Array]  # factors of an operand: none, one for all gates, or one for each


class Cell(Protocol):
    """One step of a recurrent network, as four pure methods.

    ``project`` is the half that depends on the input alone and runs for every step at once;
    ``step`` is the recurrence. A cell is hashable and holds choices only (a frozen dataclass),
    never arrays; sizes live in the arrays of its parameters. Any object with these methods
    works wherever jrnn takes a cell; deriving from this class adds ``__call__``. It must not
    change once used: compiled code is kept for each cell, by equality. With lengths or a mask,
    both halves must be differentiable where the input is zero, which stands in for what is
    masked.

    ``x`` may be any pytree of arrays. A cell whose features span more than one axis (an image,
    say) states their number as the class attribute ``feature_ndim``; 1 is assumed otherwise. One
    whose step has no product with its state may say so by ``elementwise = True``, for speed alone.

    One that draws random numbers in training has a fifth method, ``draw(key, params, x)``, which
    returns parameters with what was drawn for one step's input ``x``. ``rnn(key=...)`` calls it
    before the first step, and both halves take parameters with it and without.
    """

    def init(self, key: jax.Array, features: Any, units: Any) -> Params:
        """Returns freshly drawn parameters for ``features`` inputs and ``units`` outputs.

        Only needed where jrnn draws them (``StackedCell.init``).
        """
        raise NotImplementedError(f"{type(self).__name__}.init")

    @abc.abstractmethod
    def initial_state(self, params: Params, z: Any) -> State:
        """Returns the state before the first step, made from one step's projected input ``z``.

        Made with ``jnp.zeros_like(z[...])`` rather than from a shape, it has the dtype, the
        sharding and the varying axes that the loop needs.
        """
        ...

    @abc.abstractmethod
    def project(self, params: Params, xs: Any) -> Any:
        """Returns what depends on the input alone, for any leading axes ``[..., F]``."""
        ...

    @abc.abstractmethod
    def step(self, params: Params, state: State, z: Any) -> tuple[State, Any]:
        """Returns the next state and the output, given the state and one projected input."""
        ...

    def __call__(self, params: Params, state: State, x: Any) -> tuple[State, Any]:
        """Returns ``step(params, state, project(params, x))``: one whole step.

        A state of None stands for the initial state.

        Raises:
            ValueError: If the state is not made of what the cell's own is made of.
        """
        z = self.project(params, x)
        fresh = self.initial_state(params, z)
        if state is None:
            return self.step(params, fresh, z)
        check_structure(f"{type(self).__name__}: state", state, fresh)
        return self.step(params, state, z)


def check_structure(what: str, given: Any, reference: Any) -> None:
    """Raises ``ValueError`` if ``given`` is not the same pytree as ``reference``."""
    treedef = jax.tree.structure(given)
    if treedef != jax.tree.structure(reference):
        needed = jax.tree.map(lambda leaf: leaf.shape, reference)
        got = f"a {type(given).__name__} with {treedef.num_leaves} arrays"
        if treedef == jax.tree.structure(0):  # by its type it would be a tracer
            got = f"one array of shape {jnp.shape(given)}"
        raise ValueError(f"{what} is {got}, but the cell needs {needed}")


def project_input(
    who: str,
    xs: ArrayLike,
    kernel: jax.Array,
    bias: jax.Array | None = None,
    masks: Masks = (),
) -> jax.Array:
    """Returns ``xs @ kernel + bias`` for floating-point ``xs`` [..., F] and ``kernel`` [F, G]."""
    xs = check_input(who, xs, kernel)
    projected = masked_product(xs, kernel, masks)
    if bias is None:
        return projected.astype(jnp.result_type(xs, kernel))
    projected = projected + to_rank(wide(bias), projected)
    return projected.astype(jnp.result_type(xs, kernel, bias))


def masked_product(
    x: jax.Array,
    kernel: jax.Array,
    masks: Masks,
    multiply: Callable[[jax.Array, jax.Array], jax.Array] | None = None,
    axis: int = -1,
) -> jax.Array:
    """Returns ``multiply(x, kernel)``, each gate's part of it for ``x`` times the gate's mask.

    None stands for ``product``.
    """
    multiply = multiply or product
    if len(masks) == 0:
        return multiply(x, kernel)
    parts = zip(masks, jnp.split(kernel, len(masks), axis=-1), strict=True)
    products = [multiply(x * to_rank(mask, x), part) for mask, part in parts]
    return products[0] if len(products) == 1 else jnp.concatenate(products, axis)


def gate_products(
    xs: jax.Array, kernels: Sequence[jax.Array], biases: Sequence[jax.Array] | None, masks: Masks
) -> list[jax.Array]:
    """Returns ``xs @ kernel + bias`` for each gate's kernel, ``xs`` times the gate's mask.

    Sums of 16-bit numbers come in float32, as from ``product``. Arrays apart, as a step uses them:
    XLA's code for a step that takes slices of one is up to three times slower.
    """
    if len(masks) <= 1:
        return _products(xs * to_rank(masks[0], xs) if masks else xs, kernels, biases)
    kept = [xs * to_rank(mask, xs) for mask in masks]
    products = [product(one, kernel) for one, kernel in zip(kept, kernels, strict=True)]
    return _with_biases(products, biases)


def _plain_products(xs, kernels, biases):
    """Returns ``xs @ kernel + bias`` for each kernel."""
    return _with_biases([product(xs, kernel) for kernel in kernels], biases)


def _with_biases(products, biases):
    if biases is None:
        return products
    return [one + to_rank(wide(bias), one) for one, bias in zip(products, biases, strict=True)]


_products = jax.custom_jvp(_plain_products)


@_products.defjvp
def _products_jvp(primals, tangents):
    """One product with all kernels: its transpose is their gradient by one matmul."""
    xs, kernels, _ = primals
    d_xs, d_kernels, d_biases = tangents
    tangent = xs @ jnp.concatenate(d_kernels, axis=-1) + d_xs @ jnp.concatenate(kernels, axis=-1)
    tangent = wide(tangent)
    if d_biases is not None:
        tangent = tangent + to_rank(wide(jnp.concatenate(d_biases)), tangent)
    return _plain_products(*primals), jnp.split(tangent, len(kernels), axis=-1)


def is_narrow(dtype: Any) -> bool:
    """Returns whether numbers of this dtype are summed in a wider one: those of 16 bits."""
    return jnp.issubdtype(dtype, jnp.floating) and jnp.dtype(dtype).itemsize < 4


def wide(tree: Any) -> Any:
    """Returns the tree with its 16-bit arrays in float32, in which a step computes."""
    return jax.tree.map(
        lambda leaf: leaf.astype(jnp.float32) if is_narrow(leaf.dtype) else leaf, tree
    )


def narrowed(tree: Any, dtype: Any) -> Any:
    """Returns a step's results in the state's dtype, if this is of 16 bits."""
    return jax.tree.map(lambda leaf: leaf.astype(dtype), tree) if is_narrow(dtype) else tree


def product(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Returns ``x @ kernel``; of 16-bit operands of one dtype it is summed in float32 and is so."""
    if x.dtype == kernel.dtype and is_narrow(x.dtype):
        return _wide_product(x, kernel)
    return jnp.matmul(x, kernel)


@jax.custom_jvp
def _wide_product(x, kernel):
    return jnp.matmul(x, kernel, preferred_element_type=jnp.float32)


@_wide_product.defjvp
def _wide_product_jvp(primals, tangents):
    """Rounds cotangents to 16 bits, for the products of the gradient to be such products too."""
    (x, kernel), (d_x, d_kernel) = primals, tangents
    return _wide_product(x, kernel), wide(d_x @ kernel + x @ d_kernel)


def to_rank(weight: ArrayLike, like: jax.Array) -> jax.Array:
    """Returns ``weight`` with as many axes as ``like``, new ones first.

    What jnp's sums and products do themselves, unless ``jax_numpy_rank_promotion`` forbids it.
    """
    return jax.lax.broadcast_to_rank(weight, like.ndim)


def check_input(who: str, xs: ArrayLike, kernel: jax.Array) -> jax.Array:
    """Returns ``xs`` as an array; raises ``ValueError`` unless the kernel can multiply it."""
    xs = check_floating(who, xs)
    if xs.ndim == 0 or xs.shape[-1] != kernel.shape[0]:
        raise ValueError(
            f"{who}: x has shape {xs.shape}, but kernel {kernel.shape} needs "
            f"{kernel.shape[0]} features on its last axis"
        )
    return xs


def check_floating(who: str, xs: ArrayLike) -> jax.Array:
    """Returns ``xs`` as an array; raises ``ValueError`` unless its dtype is floating-point."""
    if isinstance(xs, list | tuple):  # a pytree to JAX: stacking it would make an axis of it
        raise ValueError(
            f"{who}: x is a {type(xs).__name__}, but one array is needed; make it one (jnp.stack)"
        )
    xs = jnp.asarray(xs)
    if not jnp.issubdtype(xs.dtype, jnp.floating):
        raise ValueError(
            f"{who}: x has dtype {xs.dtype}, but a floating-point dtype is needed; convert it "
            "(x.astype('float32')) or embed it first"
        )
    return xs


def check_cell(who: str, cell: Any) -> None:
    """Raises ``ValueError`` unless the cell has a cell's methods."""
    methods = ("initial_state", "project", "step")
    if isinstance(cell, type) or not all(callable(getattr(cell, name, None)) for name in methods):
        raise ValueError(
            f"{who}: cell is {cell!r}, but an object with the methods of jrnn.Cell is needed, "
            "such as LSTMCell()"
        )


def check_type(who: str, params: Any, expected: Any, name: str = "params") -> None:
    """Raises ``ValueError`` unless ``params`` is the expected NamedTuple, of arrays."""
    if not isinstance(params, expected):
        raise ValueError(
            f"{who}: {name} is a {type(params).__name__}, but {expected.__name__} is needed"
        )
    for field, value in zip(expected._fields, params, strict=True):
        check_array(who, field, value, optional=field in expected._field_defaults)


def check_array(who: str, name: str, value: Any, *, optional: bool = False) -> None:
    """Raises ``ValueError`` unless the parameter is an array, or None if it is optional."""
    if not hasattr(value, "shape") and not (value is None and optional):
        raise ValueError(f"{who}: {name} is a {type(value).__name__}, but an array is needed")


def check_shape(who: str, name: str, array: Any, expected: tuple[int, ...]) -> None:
    """Raises ``ValueError`` unless the parameter has the expected shape."""
    if array is None or array.shape != expected:
        got = "None" if array is None else f"shape {array.shape}"
        raise ValueError(f"{who}: {name} is {got}, but this cell needs shape {expected}")


def check_bias(who: str, bias: Any, use_bias: bool, expected: tuple[int, ...]) -> None:
    """Raises ``ValueError`` unless the bias is there exactly when ``use_bias`` says so."""
    if use_bias:
        check_shape(who, "bias", bias, expected)
    elif bias is not None:
        raise ValueError(f"{who}: bias has shape {bias.shape}, but use_bias=False needs None")


def check_sizes(who: str, **sizes: Any) -> None:
    """Raises ``ValueError`` unless every size is a positive integer."""
    for name, size in sizes.items():
        if not isinstance(size, numbers.Integral) or isinstance(size, bool) or size < 1:
            raise ValueError(f"{who}: {name} is {size!r}, but a positive integer is needed")


def zeros(params: Params, z: jax.Array, size: int) -> jax.Array:
    """Returns zeros [..., size] that follow one step's projected input ``z`` [..., G]."""
    dtype = jnp.result_type(z, *jax.tree.leaves(params))
    # A column of z widened, not a new shape: only so do its sharding and varying axes follow.
    z = whole(z, -1)
    return jnp.broadcast_to(jnp.zeros_like(z[..., :1], dtype=dtype), (*z.shape[:-1], size))
