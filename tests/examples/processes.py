"""``jrnn train`` as processes of its own."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import jrnn
from jrnn.examples.trace import read_trace


def start(*arguments, devices=1) -> subprocess.Popen:
    """Starts ``jrnn train`` with as many CPU devices."""
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": str(devices),
        "PYTHONPATH": str(Path(jrnn.__file__).parents[1]),
    }
    return subprocess.Popen(
        [sys.executable, "-m", "jrnn", "train", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
    )


def finish(*processes) -> None:
    """Waits for processes that must all succeed."""
    said = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes), "\n".join(said)


def start_joined(*arguments, count, devices) -> list[subprocess.Popen]:
    """Starts processes that train together, each with as many devices."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    joined = ["--coordinator", address, "--processes", count, "--process"]
    return [start(*arguments, *joined, number, devices=devices) for number in range(count)]


def losses(folder) -> list[float]:
    """The loss of every step that the folder has."""
    return [row.loss for row in read_trace(Path(folder) / "trace.csv")]
