"""MODULES. jrnn's functions as modules of Flax: ``jrnn.flax_wrappers.nnx``."""
