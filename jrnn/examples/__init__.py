"""Training programs, to run with ``jrnn train`` and to copy from.

A task (``characters``, ``digits``, ``forecast``) is a model, its data and its loss; ``training``
runs any of them, on one device or many, and goes on where it was stopped.
"""
