"""Programs of JAX functions: traced, and run again in parts."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.extend import core

_CALLS = ("pjit", "jit", "closed_call", "core_call")

Env = dict[Any, Any]
Function = Callable[..., Any]


def without_repetition(function: Function, fixed: Any, *examples: Any) -> tuple[Any, Function]:
    """Returns ``(once, rest)``: what is computed from ``fixed`` alone, and a function of it.

    ``rest(once, *arguments)`` equals ``function(fixed, *arguments)`` for arguments like the
    examples. Run in a loop, it does not slice or turn a kernel at every step. What makes arrays
    larger (a bias widened to all rows) stays in the rest.
    """
    flat_fixed, fixed_tree = jax.tree.flatten(fixed)
    flat_examples, examples_tree = jax.tree.flatten(examples)
    result_tree = None

    def flat_function(*flat):
        nonlocal result_tree
        given = jax.tree.unflatten(fixed_tree, flat[: len(flat_fixed)])
        result = function(given, *jax.tree.unflatten(examples_tree, flat[len(flat_fixed) :]))
        leaves, result_tree = jax.tree.flatten(result)
        return leaves

    program = trace(flat_function, [*flat_fixed, *flat_examples])
    jaxpr = program.jaxpr
    env: Env = dict(zip(jaxpr.constvars, program.consts, strict=True))
    env |= dict(zip(jaxpr.invars, flat_fixed, strict=False))
    late = []
    made: dict[tuple, Sequence[Any]] = {}  # equal equations once: then XLA sees what is equal, too
    for equation in jaxpr.eqns:
        if not _is_early(equation, env):
            late.append(equation)
            continue
        operands = [read(env, var) for var in equation.invars]
        key = (equation.primitive, _by_value(equation.params), *map(id, operands))
        if key not in made:
            made[key] = bind(equation, operands)
        env |= dict(zip(equation.outvars, made[key], strict=True))
    if not made:
        return fixed, function
    used = {var for equation in late for var in _variables(equation.invars)}
    used |= set(_variables(jaxpr.outvars))
    names = {var: id(value) for var, value in env.items() if var in used}
    values = {id(value): value for var, value in env.items() if var in used}
    inputs = jaxpr.invars[len(flat_fixed) :]

    def rest(once, *arguments):
        env = {var: once[name] for var, name in names.items()}
        env |= dict(zip(inputs, jax.tree.leaves(arguments), strict=True))
        for equation in late:
            results = bind(equation, [read(env, var) for var in equation.invars])
            env |= dict(zip(equation.outvars, results, strict=True))
        return jax.tree.unflatten(result_tree, [read(env, var) for var in jaxpr.outvars])

    return values, rest


def _by_value(params: dict[str, Any]) -> Any:
    """Returns what is equal for equal parameters; a program or function equals itself alone.

    Its text does not tell all: derivative rules, the functions it calls, arrays.
    """
    try:
        return frozenset(params.items())
    except TypeError:
        return id(params)


def _is_early(equation: Any, env: Env) -> bool:
    operands = _variables(equation.invars)
    if not operands or equation.effects or any(var not in env for var in operands):
        return False
    shapes = [var.aval.shape for var in (*equation.outvars, *operands)]
    if not all(isinstance(size, int) for shape in shapes for size in shape):  # symbolic
        return False
    sizes = [math.prod(shape) for shape in shapes]
    results = len(equation.outvars)
    return sum(sizes[:results]) <= sum(sizes[results:])


def _variables(operands: Sequence[Any]) -> list:
    return [var for var in operands if not isinstance(var, core.Literal)]


def trace(function: Function, arguments: Sequence[Any]) -> core.ClosedJaxpr:
    """Returns the program of a function, without calls of inner jitted functions."""
    program = jax.make_jaxpr(function)(*arguments)
    if not any(equation.primitive.name in _CALLS for equation in program.jaxpr.eqns):
        return program
    return jax.make_jaxpr(lambda *flat: _inlined(program, flat))(*arguments)


def _inlined(program: core.ClosedJaxpr, arguments: Sequence[Any]) -> list:
    jaxpr = program.jaxpr
    env = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*program.consts, *arguments], strict=True))
    for equation in jaxpr.eqns:
        values = [read(env, var) for var in equation.invars]
        if equation.primitive.name in _CALLS:
            inner = equation.params.get("jaxpr", equation.params.get("call_jaxpr"))
            closed = inner if isinstance(inner, core.ClosedJaxpr) else core.ClosedJaxpr(inner, ())
            results = _inlined(closed, values)
        else:
            results = bind(equation, values)
        env |= dict(zip(equation.outvars, results, strict=True))
    return [read(env, var) for var in jaxpr.outvars]


def bind(equation: Any, values: Sequence[Any]) -> Sequence[Any]:
    """Returns the results of one equation for given operands."""
    params = equation.primitive.get_bind_params(equation.params)
    with equation.ctx.manager:
        results = equation.primitive.bind(*values, **params)
    return results if equation.primitive.multiple_results else [results]


def read(env: Env, var: Any) -> Any:
    """Returns the value of an operand."""
    return var.val if isinstance(var, core.Literal) else env[var]
