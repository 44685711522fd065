"""jrnn beside real Keras on the configurations of ``tests.keras_oracle``.

``python -m tests.compare_with_keras --count 240`` compares that many and prints a table.

Keras 3.15.1 on JAX does some things that jrnn says with other options:

- ``go_backwards`` returns its sequence in the order of travel; ``reverse`` leaves outputs at
  their own steps.
- A masked step repeats the state before it, thus ``h0`` before the first step that counts; with
  ``unroll=True`` the previous output, zeros at first, and ``zero_output_for_mask`` is ignored.
- ``zero_output_for_mask`` without ``return_sequences`` returns zeros where the last step is
  masked; jrnn's last output is always that of the last step that counts.
- ``Bidirectional`` overwrites ``zero_output_for_mask`` of both layers with ``return_sequences``.
"""

import argparse
import collections
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jrnn.layers.bidirectional import BidirectionalParams, bidirectional
from tests.keras_oracle import (
    KINDS,
    Configuration,
    draw,
    draw_inputs,
    keras,
    keras_function,
    keras_layer,
)

TOLERANCE = 1e-5
# Some activations blow up over the steps, some are zero for small inputs: the first scale of
# weights, inputs and states whose values float32 can hold to the tolerance, and not all zero.
SCALES = (1.0, 0.7, 0.5, 0.35, 0.25, 0.15, 1.4, 2.0, 4.0)
SMALLEST, LARGEST = 0.01, 30.0


class Difference(NamedTuple):
    """How far one array is from Keras's."""

    name: str
    absolute: float  # largest |ours - theirs|
    relative: float  # that, by the largest |theirs|
    share: float  # largest |ours - theirs| / (TOLERANCE + TOLERANCE |theirs|): at most 1


def jrnn_function(config: Configuration, mask) -> Callable:
    """Returns the same function as ``keras_function``, computed by jrnn."""
    two = len(config.directions) == 2
    zero = config.return_sequences if two else config.zero_output_for_mask
    zero = zero and not config.unroll
    take_last = zero and not config.return_sequences
    options = {
        "mask": mask,
        "reverse": config.go_backwards,
        "unroll": 2 if config.unroll else 1,
        "return_sequences": config.return_sequences or take_last,
        "masked_output": "zero" if zero else "repeat",
    }
    run = _run_two if two else _run_one

    def function(weights, x, states):
        states = _split_states(config, states) if states else None
        repeated = None
        if states and not zero and not config.unroll:
            repeated = [state.hidden for state in states]
        params = _split_weights(config, weights)
        state, ys = run(config, params, x, initial_state=states, initial_output=repeated, **options)
        if take_last:
            ys = ys[:, 0 if config.go_backwards else -1]
        elif config.return_sequences and config.go_backwards:
            ys = jax.tree.map(lambda y: jnp.flip(y, 1), ys)
        return jax.tree.leaves((ys, state) if config.return_state else ys)

    return function


def _run_one(config: Configuration, params, x, **options):
    [direction] = config.directions
    for name in ("initial_state", "initial_output"):
        if options.get(name):
            [options[name]] = options[name]
    layer, cell = KINDS[direction.kind].layer, KINDS[direction.kind].cell
    return layer(params[0], x, cell=cell(**direction.options), **options)


def _run_two(config: Configuration, params, x, **options):
    forward, backward = (KINDS[d.kind].cell(**d.options) for d in config.directions)
    return bidirectional(
        forward,
        BidirectionalParams(*params),
        x,
        merge=config.merge,
        backward_cell=None if config.copied else backward,
        **options,
    )


def _split_weights(config: Configuration, weights: list) -> list:
    weights, params = iter(weights), []
    for direction in config.directions:
        count = 3 if direction.options["use_bias"] else 2
        params.append(KINDS[direction.kind].params(*(next(weights) for _ in range(count))))
    return params


def _split_states(config: Configuration, states: list) -> list:
    states = iter(states)
    types = [KINDS[direction.kind].state for direction in config.directions]
    return [make(*(next(states) for _ in make._fields)) for make in types]


def outputs_and_gradients(function: Callable) -> Callable:
    """Returns the jitted ``f(inputs, cotangents) -> (outputs, gradients)`` of ``function``.

    The gradients are those of ``sum(output * cotangent)`` over all outputs, in every input.
    """

    def run(inputs, cotangents):
        outputs, pull_back = jax.vjp(function, *inputs)
        return outputs, pull_back(cotangents)

    return jax.jit(run, compiler_options=quick_compile())


@functools.cache
def quick_compile() -> dict[str, Any]:
    """Compiling is nearly all of the time here; this takes a third of it, where XLA knows it."""
    options = {"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False}
    try:
        jax.jit(jnp.sin, compiler_options=options)(0.0)
    except jax.errors.JaxRuntimeError:
        return {}
    return options


def compare(config: Configuration) -> list[Difference]:
    """Returns the difference of every output, state and gradient."""
    layer = keras_layer(config)
    (inputs, cotangents), mask, theirs = _lively(config, layer)
    ours = outputs_and_gradients(jrnn_function(config, mask))(inputs, cotangents)
    ours, theirs = _named(config, ours), _named(config, theirs)
    if ours.keys() != theirs.keys():
        raise AssertionError(f"{config}: jrnn returns {list(ours)}, Keras {list(theirs)}")
    return [_difference(name, ours[name], theirs[name]) for name in theirs]


def _lively(config: Configuration, layer: keras.layers.Layer):
    """Returns inputs, mask and Keras's results at the first scale that suits."""
    _, mask = draw_inputs(config, layer)
    function = keras_function(config, layer, mask)
    run = outputs_and_gradients(function)
    rng = np.random.default_rng([config.seed, 2])
    cotangents = [
        jnp.asarray(rng.standard_normal(y.shape), "float32")
        for y in jax.eval_shape(function, *draw_inputs(config, layer)[0])
    ]
    for scale in SCALES:
        inputs, _ = draw_inputs(config, layer, scale)
        theirs = run(inputs, cotangents)
        largest = np.max([jnp.abs(leaf).max() for leaf in jax.tree.leaves(theirs)])  # or NaN
        if largest < LARGEST and (largest > SMALLEST or _zero_is_right(config, mask)):
            return (inputs, cotangents), mask, theirs
    raise AssertionError(f"{config}: no scale of the data suits float32")


def _zero_is_right(config: Configuration, mask: np.ndarray | None) -> bool:
    """Returns whether no step counts of those that reach the output."""
    if mask is None:
        return False
    if config.zero_output_for_mask and not config.return_sequences:
        mask = mask[:, 0 if config.go_backwards else -1]
    return not mask.any()


def _named(config: Configuration, results) -> dict[str, np.ndarray]:
    """Returns outputs, states and gradients by name."""
    outputs, (weights, x, states) = results
    pair = len(config.directions) == 2 and config.merge is None
    outputs, final = outputs[: 1 + pair], outputs[1 + pair :]
    groups = {
        "output": outputs,
        "state": final,
        "d weight": weights,
        "d x": [x],
        "d initial": states,
    }
    return {
        f"{name} {i}": np.asarray(array)
        for name, arrays in groups.items()
        for i, array in enumerate(arrays)
    }


def _difference(name: str, ours: np.ndarray, theirs: np.ndarray) -> Difference:
    if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
        raise AssertionError(
            f"{name}: {ours.dtype}{ours.shape}, Keras {theirs.dtype}{theirs.shape}"
        )
    error = np.abs(ours - theirs)
    share = error / (TOLERANCE + TOLERANCE * np.abs(theirs))
    largest = max(float(np.abs(theirs).max()), 1e-30)
    return Difference(name, float(error.max()), float(error.max()) / largest, float(share.max()))


def main() -> None:
    """Prints the worst differences of each layer and of each kind of array."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=240)
    parser.add_argument("--start", type=int, default=0)
    arguments = parser.parse_args()
    table, failed = collections.defaultdict(list), 0
    for seed in range(arguments.start, arguments.start + arguments.count):
        config = draw(seed)
        try:
            differences = compare(config)
        except Exception as error:  # one configuration must not end the run
            print(f"raised: {config}: {type(error).__name__}: {error}", flush=True)
            failed += 1
            continue
        bad = [difference for difference in differences if not difference.share <= 1]
        failed += bool(bad)
        if bad:
            print(f"differs: {config}: {bad}", flush=True)
        kinds = "|".join(sorted({direction.kind for direction in config.directions}))
        layer = f"Bidirectional {kinds}" if len(config.directions) == 2 else kinds
        for difference in differences:
            table[layer, difference.name.rstrip(" 0123456789")].append(difference)
            table["all", "all"].append(difference)
    versions = f"jax {jax.__version__}, keras {keras.__version__}"
    print(f"{arguments.count} configurations, {failed} failed; {versions}")
    print(
        f"{'layer':32}{'array':10}{'count':>7}{'absolute':>10}{'relative':>10}{'of tolerance':>14}"
    )
    for (layer, name), rows in sorted(table.items()):
        worst = [max(row[column] for row in rows) for column in (1, 2, 3)]
        print(f"{layer:32}{name:10}{len(rows):7}{worst[0]:10.1e}{worst[1]:10.1e}{worst[2]:14.1e}")


if __name__ == "__main__":
    main()
