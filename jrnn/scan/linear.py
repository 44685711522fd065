"""The derivative of one step of a loop, sorted by where its parts can be computed.

A step ``(fixed, state, input) -> outputs`` has ``fixed`` arguments (the parameters) that are the
same at every step. Its derivative is a program that is linear in the arguments' tangents, and each
of its equations needs one of four things at most:

1. ``once``: the fixed arguments. Computed once for all steps.
2. ``known``: states and inputs. Computed for many steps at once, when these are known.
3. ``contribution``: tangents of fixed arguments and inputs. For many steps at once, too.
4. ``step``: the state's tangent. This alone has to be a loop.

Transposed, the loop carries the state's cotangent and nothing else, and the gradient of a weight is
one matmul over many steps in place of a small one at each step. Where a sum mixes the last two
kinds, its halves go separate ways and meet in the loop: there they are added, and no earlier.
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
from jax.extend import core

from jrnn.scan.program import Env, bind, read, trace

_SUMS = ("add", "add_any")
_PRODUCTS = ("dot_general", "conv_general_dilated")
_ONCE, _KNOWN, _CONTRIBUTION, _STEP = range(4)


@dataclasses.dataclass(frozen=True)
class _Join:
    """In the loop: ``result = contribution + sum(terms)``."""

    result: Any
    terms: tuple[Any, ...]


class StepDerivative:
    """The derivative of ``step(fixed, state, x) -> outputs``, all four flat lists of arrays.

    Made from one step's arguments. ``tangents`` holds, for fixed, state and x, the positions of
    the arrays whose tangents are not zero; those of the outputs are all floating-point ones.
    """

    def __init__(
        self,
        step: Callable[..., list],
        arguments: tuple[list, list, list],
        tangents: tuple[list[int], list[int], list[int]],
    ) -> None:
        sizes = [len(group) for group in arguments]
        wanted = [(g, k) for g, positions in enumerate(tangents) for k in positions]
        primals = [arguments[g][k] for g, k in wanted]

        def tangent_map(*flat):
            groups = _grouped(flat, sizes)

            def outputs(*moved):
                given = [list(group) for group in groups]
                for (g, k), array in zip(wanted, moved, strict=True):
                    given[g][k] = array
                return [out for out in step(*given) if is_floating(out)]

            chosen = [groups[g][k] for g, k in wanted]
            return jax.linearize(outputs, *chosen)[1](*flat[sum(sizes) :])

        self._program = trace(tangent_map, [*itertools.chain(*arguments), *primals])
        fixed, state, x, *rest = _grouped(
            self._program.jaxpr.invars, [*sizes, *(len(positions) for positions in tangents)]
        )
        d_fixed, d_state, d_x = rest
        self._inputs = {"fixed": fixed, "state": state, "x": x}
        self._tangents = {"fixed": d_fixed, "state": d_state, "x": d_x}
        self._sort()

    def _sort(self) -> None:
        level: dict[Any, int] = dict.fromkeys(self._program.jaxpr.constvars, _ONCE)
        level |= dict.fromkeys(self._inputs["fixed"], _ONCE)
        level |= dict.fromkeys([*self._inputs["state"], *self._inputs["x"]], _KNOWN)
        level |= dict.fromkeys([*self._tangents["fixed"], *self._tangents["x"]], _CONTRIBUTION)
        level |= dict.fromkeys(self._tangents["state"], _STEP)
        self._equations: tuple[list, ...] = ([], [], [], [])
        halves: dict[Any, tuple[tuple, tuple]] = {}  # sums not yet added: contribution, loop
        mesh = jax.sharding.get_abstract_mesh()  # a part of a step may run under another one
        self._cuts: dict[Any, tuple] = {}  # what enters the loop: its terms

        def bring_into_loop(var):
            if var in halves and var not in self._cuts:
                self._cuts[var], terms = halves[var]
                self._equations[_STEP].append(_Join(var, terms))
            elif level[var] == _CONTRIBUTION and var not in self._cuts:
                self._cuts[var] = (var,)

        for equation in self._program.jaxpr.eqns:
            operands = [var for var in equation.invars if not isinstance(var, core.Literal)]
            highest = max((level[var] for var in operands), default=_ONCE)
            if highest == _CONTRIBUTION and equation.primitive.name == "custom_lin":
                highest = _STEP  # a custom_vjp's derivative: JAX cannot vmap it
            level |= dict.fromkeys(equation.outvars, highest)
            sums = equation.primitive.name in _SUMS and equation.ctx.cur_abstract_mesh == mesh
            if highest == _STEP and sums and len(operands) == 2:
                pairs = [halves.get(var, _as_halves(var, level[var])) for var in operands]
                early, late = (sum(side, ()) for side in zip(*pairs, strict=True))
                if early and late:
                    halves[equation.outvars[0]] = early, late
                    continue
            if highest == _STEP:
                for var in operands:
                    bring_into_loop(var)
            self._equations[highest].append(equation)
        self._outputs = self._program.jaxpr.outvars
        for var in self._outputs:
            if not isinstance(var, core.Literal):
                bring_into_loop(var)
        self._level = level
        self._products = _find_products(self._program.jaxpr, self._equations[_KNOWN])
        early_terms = [term for terms in self._cuts.values() for term in terms]
        self._residuals = {
            _CONTRIBUTION: self._reads(self._equations[_CONTRIBUTION], early_terms, _KNOWN),
            _STEP: self._reads(self._equations[_STEP], self._outputs, _KNOWN),
        }

    def _reads(self, equations: Iterable, extra: Iterable, level: int) -> list:
        """Returns the variables of a level that the equations read."""
        read = [*extra]
        for equation in equations:
            read += equation.terms if isinstance(equation, _Join) else equation.invars
        variables = dict.fromkeys(var for var in read if not isinstance(var, core.Literal))
        return [var for var in variables if self._level[var] == level]

    def reads_state(self) -> list[bool]:
        """Returns, for each of the state's arrays, whether anything needs to know it."""
        read = set(itertools.chain(*self._residuals.values()))
        for equation in reversed(self._equations[_KNOWN]):
            if not read.isdisjoint(equation.outvars):
                read.update(var for var in equation.invars if not isinstance(var, core.Literal))
        return [var in read for var in self._inputs["state"]]

    def once(self, fixed: Sequence[Any]) -> Env:
        """Returns all values that depend on the fixed arguments alone."""
        env = dict(zip(self._program.jaxpr.constvars, self._program.consts, strict=True))
        env |= dict(zip(self._inputs["fixed"], fixed, strict=True))
        return _run(self._equations[_ONCE], env)

    def products(self, once: Env, state: Sequence[Any], x: Sequence[Any]) -> list:
        """Returns the results of one step's products, from which the rest of it is cheap."""
        env = self._run_known(once, state, x, {})
        return [env[var] for var in self._products]

    def known(
        self, once: Env, state: Sequence[Any], x: Sequence[Any], products: Sequence[Any] = ()
    ) -> tuple[list, list]:
        """Returns what ``contribution`` and what ``step`` need to know of one step."""
        env = self._run_known(once, state, x, dict(zip(self._products, products, strict=False)))
        return (
            [env[var] for var in self._residuals[_CONTRIBUTION]],
            [env[var] for var in self._residuals[_STEP]],
        )

    def _run_known(self, once: Env, state: Sequence[Any], x: Sequence[Any], given: Env) -> Env:
        env = once | dict(zip(self._inputs["state"], state, strict=True))
        env |= dict(zip(self._inputs["x"], x, strict=True))
        return _run(self._equations[_KNOWN], env, given)

    def contribution(self, once: Env, known: list, d_fixed: list, d_x: list) -> list:
        """Returns what tangents other than the state's bring into one step."""
        env = once | dict(zip(self._residuals[_CONTRIBUTION], known, strict=True))
        env |= dict(zip(self._tangents["fixed"], d_fixed, strict=True))
        env |= dict(zip(self._tangents["x"], d_x, strict=True))
        env = _run(self._equations[_CONTRIBUTION], env, bind_one=_bind_weight_product)
        return [_sum(env, terms) for terms in self._cuts.values()]

    def step(self, once: Env, known: list, contribution: list, d_state: list) -> list:
        """Returns the tangents of the outputs."""
        env = once | dict(zip(self._residuals[_STEP], known, strict=True))
        env |= dict(zip(self._cuts, contribution, strict=True))
        env |= dict(zip(self._tangents["state"], d_state, strict=True))
        env = _run(self._equations[_STEP], env)
        return [read(env, var) for var in self._outputs]


def is_floating(array: Any) -> bool:
    """Returns whether an array has tangents."""
    return jax.numpy.issubdtype(array.dtype, jax.numpy.inexact)


def _as_halves(var: Any, level: int) -> tuple[tuple, tuple]:
    return ((), (var,)) if level == _STEP else ((var,), ())


def _grouped(flat: Sequence[Any], sizes: Sequence[int]) -> list[list]:
    groups, start = [], 0
    for size in sizes:
        groups.append(list(flat[start : start + size]))
        start += size
    return groups


def _run(equations: Iterable[Any], env: Env, given: Env | None = None, bind_one=None) -> Env:
    """Returns all values; ``given`` ones take the place of computed ones, whose work XLA drops."""
    env, given = dict(env), given or {}
    for equation in equations:
        if isinstance(equation, _Join):
            env[equation.result] = _sum(env, (equation.result, *equation.terms))
        else:
            results = (bind_one or bind)(equation, [read(env, var) for var in equation.invars])
            env |= dict(zip(equation.outvars, results, strict=True))
        env |= {var: given[var] for var in _results(equation) if var in given}
    return env


def _results(equation: Any) -> Sequence[Any]:
    return [equation.result] if isinstance(equation, _Join) else equation.outvars


def _find_products(jaxpr: Any, equations: Sequence[Any]) -> list:
    """Returns the results of matmuls and convolutions, or the sums that alone use them."""
    uses: dict[Any, list] = {}
    for equation in jaxpr.eqns:
        for var in equation.invars:
            if not isinstance(var, core.Literal):
                uses.setdefault(var, []).append(equation)
    here = {id(equation) for equation in equations}
    found = {}
    for equation in equations:
        if equation.primitive.name in _PRODUCTS:
            var = equation.outvars[0]
            while len(users := uses.get(var, [])) == 1 and var not in jaxpr.outvars:
                if users[0].primitive.name not in _SUMS or id(users[0]) not in here:
                    break
                var = users[0].outvars[0]
            found[var] = None
    return list(found)


def _bind_weight_product(equation: Any, values: Sequence[Any]) -> Sequence[Any]:
    if equation.primitive.name != "dot_general" or values[1].ndim != 2:
        return bind(equation, values)
    (left, right), batch = equation.params["dimension_numbers"]
    if right != (0,) or batch != ((), ()):
        return bind(equation, values)
    # The transpose of a product with a turned kernel has the form that XLA's fast matmul on CPU
    # takes; that of the product as it stands runs at half the speed.
    params = equation.params | {"dimension_numbers": ((left, (1,)), batch)}
    with equation.ctx.manager:
        turned = jax.lax.optimization_barrier(values[1].T)
        return [equation.primitive.bind(values[0], turned, **params)]


def _sum(env: Env, terms: Sequence[Any]) -> Any:
    total = env[terms[0]]
    for term in terms[1:]:
        total = total + env[term]
    return total
