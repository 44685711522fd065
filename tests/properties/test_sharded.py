"""On eight devices, by rows, units or both, comes out what comes out on one, within 1e-6."""

from tests.devices import run_on_devices
from tests.properties.problems import full

SCRIPT = "import sys\nfrom tests.properties.sharded import main\nmain()"


def test_sharded_is_unsharded():
    run_on_devices(8, SCRIPT, 200 if full else 4)
