"""Which Keras wrote a file, and the defaults that moved between versions."""

import pytest

from jrnn.keras_loader import KerasFileError
from jrnn.keras_loader.writer import writer_of

HARD, SIG = "hard_sigmoid", "sigmoid"
# version, tf, gate activation, GRU reset_after, masked_start on TensorFlow, on JAX
WRITER_TABLE = [
    (None, False, HARD, False, "state", None),
    ("1.0.8", False, HARD, False, "state", None),
    ("2.0.0", False, HARD, False, "state", None),
    ("2.1.4", False, HARD, False, "state", None),
    ("2.2.4", False, HARD, False, "state", None),
    ("2.2.5", False, HARD, False, "zeros", None),
    ("2.3.0", False, SIG, False, "zeros", None),
    ("2.3.1", False, SIG, False, "zeros", None),
    ("2.1.6-tf", True, HARD, False, "zeros", None),
    ("2.2.4-tf", True, HARD, False, "zeros", None),
    ("2.3.0-tf", True, SIG, True, "zeros", None),
    ("2.4.0", True, SIG, True, "zeros", None),
    ("2.12.0", True, SIG, True, "zeros", None),
    ("2.21.0", True, SIG, True, "zeros", None),
    ("3.0.5", False, SIG, True, "zeros", "state"),
    ("3.15.1", False, SIG, True, "zeros", "state"),
]


@pytest.mark.parametrize(("version", "tf", "gate", "reset_after", "start", "on_jax"), WRITER_TABLE)
def test_writer_table(version, tf, gate, reset_after, start, on_jax):
    writer = writer_of(version, "tensorflow")
    assert writer.tf == tf
    assert writer.gate_activation == gate
    assert writer.reset_after == reset_after
    assert writer.masked_start(unroll=False) == start
    assert writer.masked_start(unroll=True) == "zeros"
    assert writer.backward_is_negated == (writer.major < 3)
    assert writer.bidirectional_zeroes_masked == (tf or writer.major == 3)
    assert writer.honours_zero_output(unroll=True)
    jax = writer_of(version, "jax")
    if on_jax:
        assert jax.masked_start(unroll=False) == on_jax
        assert jax.masked_start(unroll=True) == "zeros"
        assert jax.honours_zero_output(unroll=False)
        assert not jax.honours_zero_output(unroll=True)


def test_masked_start_by_backend():
    starts = {
        (version, backend): writer_of(version, backend).masked_start(unroll=False)
        for version in ("2.2.4", "3.15.1")
        for backend in (None, "theano", "tensorflow", "torch", "jax", "numpy")
    }
    states = {key for key, start in starts.items() if start == "state"}
    keras2 = {("2.2.4", b) for b in (None, "tensorflow", "torch", "jax", "numpy")}
    assert states == {("3.15.1", "jax"), ("3.15.1", "numpy")} | keras2


@pytest.mark.parametrize("version", ["", "x", "0.3.3", "4.0.0", "10.0.0", "3", "٣.١", "9" * 5000])
def test_unknown_versions_are_refused(version):
    with pytest.raises(KerasFileError, match="keras_version"):
        writer_of(version, None)


def test_versions_in_words():
    assert str(writer_of("2.2.4-tf", "tensorflow")) == "tf.keras 2.2.4"
    assert str(writer_of("3.4", "jax")) == "Keras 3.4.0 on jax"
    assert writer_of("3.10.0.dev2024", None).version == (3, 10, 0)
