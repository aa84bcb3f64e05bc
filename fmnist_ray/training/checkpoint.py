"""The state of a fit between two epochs, as one safetensors file.

A safetensors file states its own length, so a file cut short is noticed when it is read, and
its header holds what is not a tensor, as JSON. Random state needs no place in it: shuffles,
masks and augmentation are drawn from (seed, epoch), see `fit`.
"""

import json
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from fmnist_ray.models.config import Weights

Row = dict[str, Any]
"""One epoch's figures: `epoch` and those of `records.HISTORY_COLUMNS` but `unit`."""

_VERSION = "1"


class DamagedCheckpoint(Exception):
    """The bytes are no whole checkpoint of this version."""


@dataclass(frozen=True)
class Checkpoint:
    """What a fit needs to go on, and what it has found so far.

    Attributes:
        config: The configuration of the fit.
        seed: Its seed.
        history: A row per finished epoch.
        weights: After the last finished epoch, by their names in torch's state dict.
        optimizer: Its tensors, see `optimizer_tensors`.
        best_weights: Those of the lowest validation loss; empty without early stopping.
        probability: Of the validation images in the last epoch, float32 (n, 10), or None.
    """

    config: dict[str, Any]
    seed: int
    history: list[Row]
    weights: Weights
    optimizer: Weights
    best_weights: Weights = field(default_factory=dict)
    probability: np.ndarray | None = None

    @property
    def epoch(self) -> int:
        """Finished epochs."""
        return len(self.history)

    def to_bytes(self) -> bytes:
        """The content of a checkpoint file."""
        tensors = {f"weights/{name}": value for name, value in self.weights.items()}
        tensors |= {f"optimizer/{name}": value for name, value in self.optimizer.items()}
        tensors |= {f"best/{name}": value for name, value in self.best_weights.items()}
        if self.probability is not None:
            tensors["probability"] = self.probability
        tensors = {name: np.asarray(value, order="C") for name, value in tensors.items()}
        state = {"config": self.config, "seed": self.seed, "history": self.history}
        return save(tensors, {"version": _VERSION, "state": json.dumps(state)})

    @classmethod
    def from_bytes(cls, content: bytes) -> "Checkpoint":
        """Reads what `to_bytes` gave.

        Raises:
            DamagedCheckpoint: The content is cut short, or no checkpoint of this version.
        """
        try:
            tensors = load(content)
            header_length = int.from_bytes(content[:8], "little")
            metadata = json.loads(content[8 : 8 + header_length]).get("__metadata__", {})
            if metadata.get("version") != _VERSION:
                raise DamagedCheckpoint("no checkpoint of this version")
            state = json.loads(metadata["state"])
        except (SafetensorError, KeyError, ValueError) as error:
            raise DamagedCheckpoint(str(error)) from None
        parts: dict[str, Weights] = {"weights": {}, "optimizer": {}, "best": {}}
        probability = None
        for name, value in tensors.items():
            if name == "probability":
                probability = value
                continue
            part, _, rest = name.partition("/")
            parts[part][rest] = value
        return cls(
            config=state["config"],
            seed=state["seed"],
            history=state["history"],
            weights=parts["weights"],
            optimizer=parts["optimizer"],
            best_weights=parts["best"],
            probability=probability,
        )


def lowest_loss_epoch(history: list[Row]) -> int:
    """Index into `history` of the lowest finite validation loss (0 if there is none)."""
    losses = [row.get("validation_loss", math.inf) for row in history]
    return min(range(len(losses)), key=lambda at: losses[at])
