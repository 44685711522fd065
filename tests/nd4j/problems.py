"""Random data for the ops of `jrnn.nd4j`, and how what they return or raise is checked."""

import re

import jax
import numpy as np
import pytest

from tests.cases import B, F, T, assert_close

LENGTHS = np.array([2, 0, T])
STATES = {"none": (), "c": ("c_last",), "y": ("y_last",), "both": ("c_last", "y_last")}


def normal(rng, *shape):
    return rng.normal(size=shape)


def halved(rng, **shapes):
    """Random weights, halved, lest gates saturate; a shape of None leaves one out."""
    return {
        name: None if shape is None else 0.5 * normal(rng, *shape) for name, shape in shapes.items()
    }


def id_of(options):
    return "-".join(
        f"{name}={'rows' if value is LENGTHS else value}" for name, value in options.items()
    )


def compare(actual, expected):
    assert_close(tuple(jax.tree.leaves(actual)), tuple(jax.tree.leaves(expected)))


def input_of(rng, data_format):
    return normal(rng, *{"NTS": (B, T, F), "NST": (B, F, T)}.get(data_format, (T, B, F)))


def fails(*parts):
    """Expects a ValueError that says all the parts, in this order."""
    return pytest.raises(ValueError, match="(?s)" + ".*".join(map(re.escape, parts)))
