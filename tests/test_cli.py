"""The command line: what it prints and writes, its exit status, its one-line errors."""

from pathlib import Path

import h5py
import jax
import numpy as np
import pytest

import jrnn
from jrnn.cli import main

DATA = Path(__file__).parent / "data"
BUNDLED = Path(jrnn.__file__).parent / "data"
SUNSPOTS = str(BUNDLED / "sunspots.keras")
RECORD = str(BUNDLED / "sunspots.npz")
LSTM = str(DATA / "keras-2.2.4/lstm_last.h5")
JAX_STATEFUL = DATA / "keras-3.15-jax/stateful"
CALLS = ["--calls", "--reset-before", "0,3"]


def said(capsys) -> str:
    return capsys.readouterr().out


def fails(capsys, *argv: object) -> str:
    """The one line an error puts on stderr."""
    assert main([str(part) for part in argv]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("jrnn: error: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    return err


def saved(path: Path, **arrays) -> str:
    np.savez(path, **arrays)
    return str(path)


# --- inspect ------------------------------------------------------------------------------------


def test_inspect_shows_layers_options_shapes_counts_and_writer(capsys):
    assert main(["inspect", SUNSPOTS]) == 0
    out = said(capsys)
    assert "Keras 3.15.1" in out
    for text in ("both_ways", "Bidirectional", "units=12", "merge=concat", "reset_after=True"):
        assert text in out
    assert "(None, 22, 24)" in out
    assert "1,344" in out  # 2 * 4 * 12 * (1 + 12 + 1)
    assert "5,019" in out


def test_inspect_warns(capsys):
    assert main(["inspect", f"{JAX_STATEFUL}.keras"]) == 0
    assert "state" in said(capsys).split("parameters:")[-1]
    assert main(["inspect", str(DATA / "keras-3.15-jax/dtype_bfloat16.keras")]) == 0
    assert "bfloat16" in said(capsys)


def test_inspect_warns_of_nan_weights(tmp_path, capsys):
    path = tmp_path / "nan.h5"
    path.write_bytes(Path(LSTM).read_bytes())
    with h5py.File(path, "r+") as file:
        found = []
        file["model_weights"].visititems(
            lambda name, one: found.append(one) if isinstance(one, h5py.Dataset) else None
        )
        found[0][...] = np.nan
    assert main(["inspect", str(path)]) == 0
    assert "NaN" in said(capsys)


def test_inspect_lists_weights_alone_and_an_architecture_alone(capsys):
    assert main(["inspect", str(DATA / "keras-1.2.2-tf/lstm_cpu_weights.h5")]) == 0
    assert "lstm_1_W_i:0" in said(capsys)
    assert main(["inspect", str(DATA / "keras-1.2.2-tf/lstm_cpu.json")]) == 0
    assert "LSTM" in said(capsys)


# --- run ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 7, 53, 500])
def test_run_writes_what_apply_returns(tmp_path, capsys, batch_size):
    out = tmp_path / "out.npz"
    argv = ["run", SUNSPOTS, "--input", RECORD, "--output", str(out)]
    assert main([*argv, "--batch-size", str(batch_size)]) == 0
    with np.load(RECORD) as record, np.load(out) as written:
        assert written.files == ["y0"]
        np.testing.assert_allclose(written["y0"], record["y0"], rtol=1e-5, atol=1e-6)
        model, params = jrnn.load_keras(SUNSPOTS)
        wanted = jax.jit(model.apply)(params, record["x0"])
        np.testing.assert_allclose(written["y0"], wanted, rtol=1e-5, atol=1e-6)
    assert list(tmp_path.iterdir()) == [out]  # nothing half-written is left behind


def test_run_takes_arrays_of_the_other_byte_order(tmp_path):
    out = tmp_path / "y.npz"
    with np.load(RECORD) as record:
        source = saved(tmp_path / "x.npz", x0=record["x0"].astype(">f4"))
        assert main(["run", SUNSPOTS, "--input", source, "--output", str(out)]) == 0
        with np.load(out) as written:
            np.testing.assert_allclose(written["y0"], record["y0"], rtol=1e-5, atol=1e-6)


def test_run_with_weights_and_config_apart(tmp_path):
    folder, out = DATA / "keras-1.2.2-tf", tmp_path / "y.npz"
    record = folder / "lstm_cpu.npz"
    where = ["--input", str(record), "--output", str(out)]
    weights, config = str(folder / "lstm_cpu_weights.h5"), str(folder / "lstm_cpu.json")
    for argv in ([weights, "--config", config], [config, "--weights", weights]):
        assert main(["run", *argv, *where]) == 0
        with np.load(record) as known, np.load(out) as written:
            np.testing.assert_allclose(written["y0"], known["y0"], rtol=1e-5, atol=1e-5)


def test_run_keeps_the_rows_of_a_stateful_model_together(tmp_path):
    with np.load(f"{JAX_STATEFUL}.npz") as record:
        x, wanted = record["x0"][0], record["y0"][0]
    out = tmp_path / "y.npz"
    source = saved(tmp_path / "x.npz", x0=x)
    argv = [f"{JAX_STATEFUL}.keras", "--input", source, "--output", str(out)]
    assert main(["run", *argv, "--batch-size", "1"]) == 0
    with np.load(out) as written:
        np.testing.assert_allclose(written["y0"], wanted, rtol=1e-5, atol=1e-5)


def test_run_errors(tmp_path, capsys):
    out = tmp_path / "out.npz"
    cases = {
        "no x0": saved(tmp_path / "a.npz", z=np.ones(3)),
        "x1": saved(tmp_path / "b.npz", x0=np.ones((2, 22, 1)), x1=np.ones(2)),
        "Object": saved(tmp_path / "c.npz", x0=np.array([{}], dtype=object)),
        "features": saved(tmp_path / "d.npz", x0=np.ones((2, 22, 4))),
    }
    cases["expected"] = str(tmp_path / "no.npz")
    Path(cases["expected"]).write_bytes(b"random bytes")
    for word, path in cases.items():
        line = fails(capsys, "run", SUNSPOTS, "--input", path, "--output", out)
        assert word in line, (word, line)
    line = fails(capsys, "run", SUNSPOTS, "--input", RECORD, "--output", tmp_path / "no/out.npz")
    assert "no" in line
    assert not out.exists()
    fails(capsys, "run", SUNSPOTS, "--input", RECORD, "--output", out, "--batch-size", "0")


# --- verify -------------------------------------------------------------------------------------


def test_verify_agrees(capsys):
    assert main(["verify", SUNSPOTS, "--data", RECORD]) == 0
    out = said(capsys)
    assert "y0" in out
    assert "(53, 3)" in out
    assert "verified" in out


def test_verify_sees_another_output(tmp_path, capsys):
    with np.load(RECORD) as record:
        x, y = record["x0"], record["y0"].copy()
    y[3, 1] += 1e-3
    path = saved(tmp_path / "io.npz", x0=x, y0=y)
    assert main(["verify", SUNSPOTS, "--data", path]) == 1
    out = said(capsys)
    assert "MISMATCH" in out
    assert "1.00e-03" in out
    assert main(["verify", SUNSPOTS, "--data", path, "--atol", "0.01"]) == 0
    y[3, 1] = np.nan
    assert main(["verify", SUNSPOTS, "--data", saved(tmp_path / "n.npz", x0=x, y0=y)]) == 1
    assert main(["verify", SUNSPOTS, "--data", saved(tmp_path / "s.npz", x0=x, y0=y[:, :2])]) == 1
    assert main(["verify", SUNSPOTS, "--data", saved(tmp_path / "m.npz", x0=x, y0=y, y1=y)]) == 1


def test_verify_sees_another_weight(tmp_path):
    path = tmp_path / "changed.h5"
    path.write_bytes((BUNDLED / "sunspots.h5").read_bytes())
    with h5py.File(path, "r+") as file:
        group = file["model_weights"]["next_years"]
        group[group.attrs["weight_names"][1]][0] += 0.01
    assert main(["verify", str(BUNDLED / "sunspots.h5"), "--data", RECORD]) == 0
    assert main(["verify", str(path), "--data", RECORD]) == 1


@pytest.mark.parametrize("backend", ["jax", "tf"])
def test_verify_finds_the_reading_of_a_file_that_does_not_name_its_backend(capsys, backend):
    for case, extra in (("stateful", CALLS), ("mask_explicit_initial_state", [])):
        stem = DATA / f"keras-3.15-{backend}" / case
        assert main(["verify", f"{stem}.keras", "--data", f"{stem}.npz", *extra]) == 0
        out = said(capsys)
        assert f"Keras 3 on {'jax' if backend == 'jax' else 'tensorflow'}" in out


def test_verify_takes_the_backend_given():
    stem = DATA / "keras-3.15-jax/mask_explicit_initial_state"
    argv = ["verify", f"{stem}.keras", "--data", f"{stem}.npz", "--backend"]
    assert main([*argv, "jax"]) == 0
    assert main([*argv, "tensorflow"]) == 1


def test_verify_keeps_and_resets_state_between_calls(capsys):
    stem = DATA / "keras-2.2.4/stateful"
    argv = ["verify", f"{stem}.h5", "--data", f"{stem}.npz"]
    assert main([*argv, *CALLS]) == 0
    assert main([*argv, "--calls"]) == 1  # state kept over call 3 as well
    assert main([*argv, "--calls", "--reset-before", "0,1,3"]) == 1
    capsys.readouterr()
    assert "--calls" in fails(capsys, *argv, "--reset-before", "1")
    assert "4 calls" in fails(capsys, *argv, "--calls", "--reset-before", "4")
    assert "list" in fails(capsys, *argv, "--calls", "--reset-before", "a")


# --- convert ------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_convert_writes_every_array_under_a_readable_name(tmp_path, capsys, suffix):
    out = tmp_path / f"weights{suffix}"
    assert main(["convert", SUNSPOTS, str(out)]) == 0
    if suffix == ".npz":
        with np.load(out) as file:
            arrays = dict(file)
    else:
        arrays = pytest.importorskip("safetensors.numpy").load_file(out)
    _, params = jrnn.load_keras(SUNSPOTS)
    assert set(arrays) == {
        *(
            f"both_ways/{way}/{name}"
            for way in ("forward", "backward")
            for name in params["summary"]._fields
        ),
        *(f"summary/{name}" for name in params["summary"]._fields),
        "next_years/kernel",
        "next_years/bias",
    }
    np.testing.assert_array_equal(
        arrays["both_ways/backward/recurrent_kernel"], params["both_ways"].backward.recurrent_kernel
    )
    assert "both_ways/backward/recurrent_kernel" in said(capsys)


def test_convert_keeps_bfloat16_where_the_format_can(tmp_path, capsys):
    source = str(DATA / "keras-3.15-jax/dtype_bfloat16.keras")
    load = pytest.importorskip("safetensors.flax").load_file
    assert main(["convert", source, str(tmp_path / "w.safetensors")]) == 0
    assert str(load(tmp_path / "w.safetensors")["lstm/kernel"].dtype) == "bfloat16"
    assert main(["convert", source, str(tmp_path / "w.npz")]) == 0
    assert "float32" in capsys.readouterr().err
    with np.load(tmp_path / "w.npz") as file:
        assert {file[name].dtype.name for name in file.files} == {"float32"}


@pytest.mark.parametrize("name", ["m.keras", "m.h5", "m.weights.h5"])
def test_convert_writes_files_of_keras_3(tmp_path, capsys, name):
    out = tmp_path / name
    assert main(["convert", SUNSPOTS, str(out)]) == 0
    assert "both_ways/backward/recurrent_kernel" in said(capsys)
    _, expected = jrnn.load_keras(SUNSPOTS)
    _, params = jrnn.load_keras(out, config=SUNSPOTS if "weights" in name else None)
    np.testing.assert_array_equal(params["summary"].kernel, expected["summary"].kernel)


def test_convert_says_what_keras_3_has_not(tmp_path, capsys):
    source = DATA / "keras-2.3.1/mask_bidir.h5"
    assert "zero_output_for_mask" in fails(capsys, "convert", str(source), tmp_path / "m.keras")
    assert list(tmp_path.iterdir()) == []


def test_convert_refuses_another_suffix(tmp_path, capsys):
    assert ".safetensors" in fails(capsys, "convert", SUNSPOTS, tmp_path / "w.pt")
    assert list(tmp_path.iterdir()) == []
