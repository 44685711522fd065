"""Python of its own with several devices, which JAX has to know of before it starts."""

import os
import subprocess
import sys


def run_on_devices(count: int, script: str, *arguments: object) -> None:
    """Runs a script on so many host devices; what it ends with must be ``print("done")``."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={count}"
    path = os.pathsep.join(sys.path)
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        env=os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "done\n", done.stderr
