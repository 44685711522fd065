"""TIME. The one loop over steps, for every cell, and its gradient."""

from jrnn.scan.cell import scan_both, scan_cell
from jrnn.scan.plan import (
    IMPLEMENTATIONS,
    Checkpoint,
    Implementation,
    directions_share_loop,
)

__all__ = [
    "IMPLEMENTATIONS",
    "Checkpoint",
    "Implementation",
    "directions_share_loop",
    "scan_both",
    "scan_cell",
]
