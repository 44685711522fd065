"""WHAT IS RIGHT. The naive scan in float64: outputs, last states and gradients of a case."""

import dataclasses

import jax
import numpy as np

from benchmarks.cases import Case
from benchmarks.data import Arrays, Data
from benchmarks.peers.naive_scan import Naive


def reference(case: Case, data: Data) -> Arrays:
    """Returns the case's results in float64; JAX must have been started with x64 enabled."""
    if not jax.config.jax_enable_x64:
        raise RuntimeError("reference: JAX_ENABLE_X64 is not set, but float64 is needed")
    return Naive().prepare(case, _widened(data)).results()


def _widened(data: Data) -> Data:
    layers = [
        [{name: array.astype(np.float64) for name, array in weights.items()} for weights in layer]
        for layer in data.layers
    ]
    return dataclasses.replace(
        data,
        layers=layers,
        xs=data.xs.astype(np.float64),
        cotangent=data.cotangent.astype(np.float64),
    )
