"""An epoch as a line of a log."""

from collections.abc import Mapping
from typing import Any


def epoch_line(row: Mapping[str, Any]) -> str:
    """The figures of an epoch, such as `epoch=3 train_loss=0.41 validation_accuracy=0.8725`."""
    return " ".join(
        f"{key}={value:.5g}" if isinstance(value, float) else f"{key}={value}"
        for key, value in row.items()
    )


def print_epoch(unit: str, row: Mapping[str, Any]) -> None:
    """Prints an epoch where a unit trains: Ray keeps that in the process's log file.

    The dashboard shows the file with the unit's task and actor. Processes are used again, so each
    line names the unit.
    """
    print(f"{unit} {epoch_line(row)}", flush=True)
