"""The character model of ``jrnn train characters``, side by side with the same in Keras.

``python -m benchmarks.characters --seeds 0 1 2 --out F`` trains both on the same excerpts in the
same order, with layers, sizes, initializers, dropout, optimizer and number of steps alike, and
writes the bits per character of the held-out text after every 100 steps.
"""

import argparse
import importlib.metadata
import json
import os
import tempfile
from pathlib import Path

os.environ["KERAS_BACKEND"] = "jax"

import jax
import keras
import numpy as np

from jrnn.examples.characters import Characters
from jrnn.examples.training import train


def in_jrnn(task: Characters, seed: int, steps: int, every: int) -> dict[int, float]:
    """Bits per character at each measured step, by ``jrnn train``."""
    with tempfile.TemporaryDirectory() as folder:
        rows = train(
            task, folder, steps=steps, seed=seed, save_every=steps, measure_every=every
        ).rows
    return {row.step: row.metric for row in rows if row.metric is not None}


def in_keras(task: Characters, seed: int, steps: int, every: int) -> dict[int, float]:
    """The same by Keras: its own layers, optimizer and training step."""
    keras.utils.set_random_seed(seed)
    model = keras.Sequential(
        [
            keras.layers.Embedding(len(task.alphabet), task.features),
            keras.layers.LSTM(task.units, return_sequences=True),
            keras.layers.Dropout(task.dropout),
            keras.layers.LSTM(task.units, return_sequences=True),
            keras.layers.Dropout(task.dropout),
            keras.layers.Dense(len(task.alphabet)),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    adam = keras.optimizers.Adam(task.learning_rate, epsilon=1e-8, global_clipnorm=1.0)
    model.compile(adam, loss)
    held_out = task.held_out()
    measured = {}
    for step in range(1, steps + 1):
        model.train_on_batch(*task.batch(seed, step))
        if step % every == 0 or step == steps:
            nats = model.evaluate(*held_out, batch_size=len(held_out[0]), verbose=0)
            measured[step] = float(nats / np.log(2))
    return measured


def main() -> None:
    """Trains both for each seed, in turn, and writes what was measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--every", type=int, default=100)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    task = Characters()
    runs = []
    for seed in args.seeds:
        run = {
            name: trainer(task, seed, args.steps, args.every)
            for name, trainer in (("jrnn", in_jrnn), ("keras", in_keras))
        }
        runs.append({"seed": seed, **run})
        print(seed, {name: measured[args.steps] for name, measured in run.items()}, flush=True)
    packages = {name: importlib.metadata.version(name) for name in ("jax", "flax", "keras")}
    last = {name: [run[name][args.steps] for run in runs] for name in ("jrnn", "keras")}
    result = {
        "task": task.settings(),
        "steps": args.steps,
        "packages": packages,
        "device": jax.default_backend(),
        "mean": {name: float(np.mean(values)) for name, values in last.items()},
        "runs": runs,
    }
    args.out.write_text(json.dumps(result, indent=1) + "\n")
    print(result["mean"])


if __name__ == "__main__":
    main()
