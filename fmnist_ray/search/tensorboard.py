"""TensorBoard files, one run per trial, that go on after a resume."""

import sys
from pathlib import Path
from typing import Any

from fmnist_ray.search.journal import TrialState

_SCALARS = ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy")


class TensorBoardLogs:
    """Writes each trial's figures, and at its end its configuration, under one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writers: dict[str, Any] = {}

    def add(self, state: TrialState) -> None:
        """The trial's last epoch."""
        row = state.rows[-1]
        writer = self._writer(state.unit)
        for key in _SCALARS:
            if key in row:
                writer.add_scalar(key, row[key], row["epoch"])
        writer.flush()

    def end(self, state: TrialState) -> None:
        """The trial's configuration beside its last figures; closes its files."""
        last = state.rows[-1] if state.rows else {}
        plain = {
            key: value if isinstance(value, bool | int | float | str) else str(value)
            for key, value in state.config.items()
        }
        figures = {f"final/{key}": last[key] for key in _SCALARS if key in last}
        writer = self._writer(state.unit)
        writer.add_hparams(plain, figures, name="configuration")
        writer.close()
        del self._writers[state.unit]

    def close(self) -> None:
        """Closes all files."""
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()

    def _writer(self, unit: str) -> Any:
        if unit not in self._writers:
            self._writers[unit] = _writer_class()(str(self._folder / unit))
        return self._writers[unit]


def _writer_class() -> Any:
    """tensorboardX's writer, which would import torch if it could: 1.5 s and 200 MB for nothing."""
    without_torch = "torch" not in sys.modules
    if without_torch:
        sys.modules["torch"] = None  # type: ignore[assignment]
    try:
        from tensorboardX import SummaryWriter
    finally:
        if without_torch:
            del sys.modules["torch"]
    return SummaryWriter
