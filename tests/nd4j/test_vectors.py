"""Recorded numbers of libnd4j's own tests, and some derived from its equations, for every op.

``nd4j_vectors.json`` says where each case comes from; a case passes at its own tolerance.
"""

from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jrnn import nd4j
from tests.nd4j.vectors import CASES, OPS, filled, inputs_of

every_case = pytest.mark.parametrize(
    "case", CASES, ids=[case["source_test_name"].split(".")[1] for case in CASES]
)


def truths(case):
    """`(output, entry)` of every number that a case records of what the op must give."""
    for key in ("expected", "derived"):
        yield from (case.get(key) or {}).items()


def assert_passes(actual, entry):
    """Upstream's rule: each element within the tolerance, absolute or relative."""
    expected, actual = filled(entry), np.asarray(actual)
    assert actual.shape == expected.shape
    largest = np.maximum(np.abs(actual), np.abs(expected))
    assert np.all(np.abs(actual - expected) <= entry["tol"] * np.maximum(1, largest))


@every_case
def test_recorded_numbers(case):
    double = next(iter(case["inputs"].values()))["dtype"] in ("double", "float64")
    with jax.enable_x64(double):
        outputs = OPS[case["op"]](inputs_of(case), case["attrs"])
        assert {value.dtype.name for value in outputs.values()} == {
            "float64" if double else "float32"
        }
    recorded = dict(truths(case))
    assert recorded
    for name, entry in recorded.items():
        assert_passes(outputs[name], entry)


def test_no_case_and_no_op_is_left_out():
    assert len(CASES) == 53
    assert Counter(case["op"] for case in CASES).keys() == OPS.keys()
    assert sum(len(dict(truths(case))) for case in CASES) == 134
    compared = {"expected", "derived", "other_variant_reset_before_h"}
    described = {
        *("op", "source_test_name", "source_file", "inputs", "attrs", "provenance", "note"),
        *("numpy_reference", "independent_check", "gate_orders_that_also_pass"),
        "reset_before_also_passes",
    }
    assert {key for case in CASES for key in case} == compared | described


UPSTREAM = {
    nd4j.RnnDataFormat: "TNS NST NTS",
    nd4j.LSTMDataFormat: "TNS NTS NST T2NS",
    nd4j.LSTMDirectionMode: "FWD BWD BIDIR_SUM BIDIR_CONCAT BIDIR_EXTRA_DIM",
    nd4j.LSTMActivations: "TANH RELU SIGMOID AFFINE LEAKY_RELU THRESHHOLD_RELU SCALED_TAHN "
    "HARD_SIGMOID ELU SOFTSIGN SOFTPLUS",
}


@pytest.mark.parametrize("members", UPSTREAM, ids=lambda members: members.__name__)
def test_names_and_ids_of_the_enums(members):
    """Upstream's, in its spelling; the formats of layer and block have other ids."""
    assert [members[name].value for name in UPSTREAM[members].split()] == [*range(len(members))]


def test_a_loop_of_gru_cells_is_not_the_gru_layer():
    """The cell resets before the product: the case records those numbers too."""
    (case,) = (case for case in CASES if "other_variant_reset_before_h" in case)
    with jax.enable_x64(True):
        x = inputs_of(case)
        n = x["hI"].shape[-1]
        ru_weight = jnp.concatenate([x["Wx"][:, : 2 * n], x["Wh"][:, : 2 * n]])
        c_weight = jnp.concatenate([x["Wx"][:, 2 * n :], x["Wh"][:, 2 * n :]])
        biases = x["b"][: 2 * n], x["b"][2 * n :]
        h, hs = x["hI"], []
        for x_t in x["x"]:
            h = nd4j.gru_cell(x_t, h, nd4j.GRUWeights(ru_weight, c_weight, *biases)).h
            hs.append(h)
        assert_passes(jnp.stack(hs), {**case["other_variant_reset_before_h"], "tol": 1e-6})


def test_the_state_that_sru_bp_starts_from():
    """Upstream's case gives the outputs h where the gradient op reads the cells: see `sru_bp`."""
    (case,) = (case for case in CASES if case["op"] == "sru_bp")
    with jax.enable_x64(True):
        x = inputs_of(case)
        weights = nd4j.SRUWeights(x["weights"], x["bias"][0])
        h = nd4j.sru(x["input"], x["init"], weights, mask=x["mask"]).h
    assert_passes(h, {**case["inputs"]["state"], "tol": 1e-5})
