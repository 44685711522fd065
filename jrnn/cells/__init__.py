"""One step: each file holds a cell, its parameters and its state."""
