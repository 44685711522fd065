"""Checkpoints of a run, written by Orbax while training goes on."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orbax.checkpoint as ocp


class Checkpoints:
    """The newest states of a run, and the settings it was started with.

    A checkpoint appears whole or not at all. Each process writes what its devices hold, into a
    folder that all of them see, and reads what its devices need, however many there were before.

    Args:
        folder: Where they lie.
        settings: What makes the run what it is.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]):
        self._folder = folder
        self._settings = dict(settings)
        self._manager = ocp.CheckpointManager(
            folder.absolute(), options=ocp.CheckpointManagerOptions(max_to_keep=2)
        )

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: object) -> None:
        self._manager.close()  # what is being written is finished

    def save(self, step: int, state: Any) -> None:
        """Starts writing the state after ``step`` steps."""
        settings = ocp.args.JsonSave(self._settings)
        self._manager.save(
            step, args=ocp.args.Composite(state=ocp.args.StandardSave(state), settings=settings)
        )

    def newest(self, abstract: Any) -> tuple[int, Any] | None:
        """Returns the newest ``(steps, state)``, laid out as ``abstract``; None if there is none.

        Raises:
            ValueError: If it is of a run with other settings, or is damaged.
        """
        step = self._manager.latest_step()
        if step is None:
            return None
        before = self._restore(step, "settings", ocp.args.JsonRestore())
        if before != self._settings:
            names = sorted(before.keys() | self._settings.keys())
            differ = [
                f"{name} {before.get(name)} became {self._settings.get(name)}"
                for name in names
                if before.get(name) != self._settings.get(name)
            ]
            raise ValueError(
                f"jrnn train: {str(self._folder)!r} holds a run with other settings "
                f"({', '.join(differ)}); give the same, or another folder"
            )
        return step, self._restore(step, "state", ocp.args.StandardRestore(abstract))

    def _restore(self, step: int, name: str, how: Any) -> Any:
        try:
            return self._manager.restore(step, args=ocp.args.Composite(**{name: how}))[name]
        except Exception as error:  # of a damaged file, Orbax raises whatever its parts raise
            raise ValueError(
                f"jrnn train: {str(self._folder / str(step))!r} cannot be read: it is "
                "damaged (remove it to go on from the one before) or another version of jrnn "
                f"wrote it: {error}"
            ) from error
