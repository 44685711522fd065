"""Whether two models compute the same: their programs, as JAX traces them, compared.

Keras 3 and the Keras that wrote a file may treat masks differently and yet give the same numbers,
where nothing is masked for instance. Programs show that without a rule for every layer: two models
are the same if what their outputs are computed by is the same, equation by equation.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.extend import core

from jrnn.keras_loader.build import ANY_SIZE, blank_inputs
from jrnn.model.graph import Model

_INLINED = ("jaxpr", "call_jaxpr", "fun_jaxpr")
_SEVERAL = (ANY_SIZE, 8, 9, 10, 12, 16, 33)  # where a file leaves sizes open: windows may not fit
_ENOUGH = 3  # of these

Numbers = dict[Any, int]  # an expression's number; equal expressions have equal ones


def same_program(first: Model, second: Model, params: Any) -> bool | None:
    """Returns whether two models are computed alike; None if neither runs on any size tried.

    The second one's inputs say of which dtype they are.

    Stateful models are called twice, so that the state that one call leaves counts, too.
    """
    numbers: Numbers = {}
    answers = []
    for size in _SEVERAL if _is_open(first) else _SEVERAL[:1]:
        inputs = blank_inputs(second, size)
        found = [_outputs(model, params, inputs, numbers) for model in (first, second)]
        if found != [None, None]:
            answers.append(found[0] == found[1])
        if len(answers) == _ENOUGH:
            break
    return all(answers) if answers else None


def _is_open(model: Model) -> bool:
    return any(spec.shape is not None and None in spec.shape[1:] for spec in model.inputs)


def _outputs(model: Model, params: Any, inputs: Sequence[Any], numbers: Numbers) -> Any:
    """Returns the numbers of the outputs' expressions; None if the model does not run."""

    def run(params, inputs):
        state, outputs = model.apply(params, *inputs, return_state=True)
        if not state:
            return outputs
        return outputs, model.apply(params, *inputs, state=state)

    try:
        program, shape = jax.make_jaxpr(run, return_shape=True)(params, inputs)
    except Exception:  # sizes that do not fit; for numbers out of all range JAX has a dozen kinds
        return None
    arguments = [_number(("argument", k), numbers) for k in range(len(program.jaxpr.invars))]
    return str(jax.tree.structure(shape)), _closed(program, arguments, numbers)


def _closed(program: Any, arguments: Sequence[int], numbers: Numbers) -> tuple[int, ...]:
    constants = [
        _number(
            ("constant", str(value.dtype), value.shape, jax.device_get(value).tobytes()), numbers
        )
        for value in program.consts
    ]
    return _open(program.jaxpr, constants, arguments, numbers)


def _open(
    jaxpr: Any, constants: Sequence[int], arguments: Sequence[int], numbers: Numbers
) -> tuple[int, ...]:
    """Returns the numbers of a program's results for those of what it is given."""
    known = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*constants, *arguments], strict=True))

    def read(var: Any) -> int:
        if isinstance(var, core.Literal):
            return _number(("literal", repr(var.val), str(var.aval)), numbers)
        return known[var]

    for equation in jaxpr.eqns:
        operands = [read(var) for var in equation.invars]
        results = _inlined(equation, operands, numbers)
        if results is None:
            key = (equation.primitive.name, _options(equation.params, numbers), tuple(operands))
            results = [_number((k, key), numbers) for k in range(len(equation.outvars))]
        known |= dict(zip(equation.outvars, results, strict=True))
    return tuple(read(var) for var in jaxpr.outvars)


def _inlined(equation: Any, operands: Sequence[int], numbers: Numbers) -> Sequence[int] | None:
    """Returns the results of a call of an inner function; None if the equation is none."""
    name = equation.primitive.name
    if not (name in ("pjit", "jit", "closed_call", "core_call") or name.startswith("custom_")):
        return None
    inner = next((equation.params[key] for key in _INLINED if key in equation.params), None)
    if isinstance(inner, core.ClosedJaxpr):
        return _closed(inner, operands, numbers)
    return None if inner is None else _open(inner, [], operands, numbers)


def _options(value: Any, numbers: Numbers) -> Any:
    """Returns an equation's options in a form that is equal where they mean the same."""
    if isinstance(value, dict):
        return tuple((key, _options(value[key], numbers)) for key in sorted(value))
    if isinstance(value, tuple | list) and not hasattr(value, "_fields"):
        return tuple(_options(item, numbers) for item in value)
    jaxpr = value.jaxpr if isinstance(value, core.ClosedJaxpr) else value
    if isinstance(jaxpr, core.Jaxpr):
        inside = [_number(("inner", k), numbers) for k in range(len(jaxpr.invars))]
        if isinstance(value, core.ClosedJaxpr):
            return _closed(value, inside, numbers)
        return _open(jaxpr, [], inside, numbers)
    return "" if isinstance(value, Callable) and not isinstance(value, type) else repr(value)


def _number(expression: Any, numbers: Numbers) -> int:
    return numbers.setdefault(expression, len(numbers))
