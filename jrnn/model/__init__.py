"""LAYERS TOGETHER: typed layer configs, a graph of them, one pure ``apply``."""

from jrnn.model.graph import Model

__all__ = ["Model"]
