"""TIME. The one loop over steps, for every cell, and its gradient."""

from jrnn.scan.cell import scan_cell
from jrnn.scan.plan import IMPLEMENTATIONS, Implementation

__all__ = ["IMPLEMENTATIONS", "Implementation", "scan_cell"]
