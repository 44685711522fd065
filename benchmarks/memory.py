"""Memory and time of a gradient with ``checkpoint``, side by side with the plain one.

``python -m benchmarks.memory`` compiles the gradient of a layer's last output by its parameters for
each setting, checks that all give the same numbers, times them in turns, and writes
``results/memory.json``. Memory is what XLA says that the compiled program needs as temporaries.
"""

import argparse
import json
import os
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import jrnn

RESULTS = Path(__file__).parent / "results" / "memory.json"
CELLS = {"lstm": jrnn.LSTMCell(), "gru": jrnn.GRUCell(), "simple_rnn": jrnn.SimpleRNNCell()}
SETTINGS = None, "sqrt", 256, 16


def measure(cell, steps: int, rows: int, features: int, units: int, rounds: int) -> list[dict]:
    """A row for each setting: temporaries, the plan's total, and the best time of all rounds."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(lambda: cell.init(jax.random.key(0), features, units))
    params = jax.tree.map(lambda s: jnp.asarray(rng.normal(size=s.shape) * 0.1, s.dtype), shapes)
    xs = jnp.asarray(rng.normal(size=(steps, rows, features)), jnp.float32)
    programs, found = {}, []
    for checkpoint in SETTINGS:
        options = {"time_major": True, "return_sequences": False, "checkpoint": checkpoint}

        def loss(params, xs, options=options):
            return (jrnn.rnn(cell, params, xs, **options)[1] ** 2).mean()

        programs[checkpoint] = jax.jit(jax.grad(loss)).lower(params, xs).compile()
        found.append(
            {
                "checkpoint": checkpoint,
                "temporaries": programs[checkpoint].memory_analysis().temp_size_in_bytes,
                "memory_plan": jrnn.memory_plan(cell, params, xs, **options).total,
                "seconds": float("inf"),
            }
        )
    plain = jax.tree.leaves(programs[None](params, xs))
    for program in programs.values():
        for one, other in zip(jax.tree.leaves(program(params, xs)), plain, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)
    for _ in range(rounds):
        for row in found:
            start = time.perf_counter()
            jax.block_until_ready(programs[row["checkpoint"]](params, xs))
            row["seconds"] = min(row["seconds"], time.perf_counter() - start)
    return found


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=16384)
    parser.add_argument("--rounds", type=int, default=10)
    given = parser.parse_args()
    sizes = {"steps": given.steps, "rows": 8, "features": 128, "units": 128}
    results = []
    for name, cell in CELLS.items():
        plain, *others = measure(cell, **sizes, rounds=given.rounds)
        for row in (plain, *others):
            row = {"cell": name} | row
            row["memory ratio"] = plain["temporaries"] / row["temporaries"]
            row["time ratio"] = row.pop("seconds") / plain["seconds"]
            results.append(row)
            print(json.dumps(row), flush=True)
    machine = {"jax": jax.__version__, "backend": jax.default_backend(), "cores": os.cpu_count()}
    RESULTS.write_text(json.dumps({**machine, **sizes, "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
