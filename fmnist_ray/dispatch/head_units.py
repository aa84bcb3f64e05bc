"""The output layers that a run of `transfer` tries, as units: drawn by seed, judged, chosen."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fmnist_ray.dispatch.seeds import HEAD_FITS, HEAD_SEARCH, unit_seed
from fmnist_ray.dispatch.unit_records import UnitsRun
from fmnist_ray.training.head import HeadConfig

FINAL = "final"
_LEARNING_RATES, _WEIGHT_DECAYS = (2e-3, 6e-2), (1e-4, 1e-1)
_BATCH_SIZES = (64, 128, 256, 512)


@dataclass(frozen=True)
class HeadUnit:
    """One head to fit: small, so that it can be sent anywhere.

    Attributes:
        name: Names it in the record and in Ray's task list.
        config: How it is trained.
        seed: Of the fit.
        train: Rows of the features to train on.
        validation: Rows that it is judged on after each epoch; empty for the final head, which
            is judged on the test images.
    """

    name: str
    config: HeadConfig
    seed: int
    train: np.ndarray
    validation: np.ndarray


def head_trials(
    trials: int, epochs: int, seed: int, train: np.ndarray, validation: np.ndarray
) -> list[HeadUnit]:
    """The heads to try: `trial-01` as heads are by default, the others drawn by seed.

    Learning rate and weight decay are drawn evenly over their logarithms; batch size is one of
    four; epochs are all or half. More trials change none of the first.

    Args:
        trials: How many.
        epochs: The most that any of them trains.
        seed: The run's.
        train: Rows to train on.
        validation: Rows to judge on.
    """
    units = []
    for number in range(trials):
        config = HeadConfig(epochs=epochs)
        if number:
            draw = np.random.default_rng(unit_seed(seed, HEAD_SEARCH, number))
            config = HeadConfig(
                learning_rate=_log_uniform(draw, *_LEARNING_RATES),
                weight_decay=_log_uniform(draw, *_WEIGHT_DECAYS),
                batch_size=int(draw.choice(_BATCH_SIZES)),
                epochs=int(draw.choice([epochs, max(1, epochs // 2)])),
            )
        name = f"trial-{number + 1:0{max(2, len(str(trials)))}}"
        units.append(HeadUnit(name, config, unit_seed(seed, HEAD_FITS, number), train, validation))
    return units


def final_head(best: HeadUnit, rows: int) -> HeadUnit:
    """The best trial once more, on all rows of the features."""
    return HeadUnit(FINAL, best.config, best.seed, np.arange(rows), np.arange(0))


def best_head(units: Sequence[HeadUnit], run: UnitsRun) -> HeadUnit:
    """The complete trial of the highest validation accuracy, the first of several."""
    done = [unit for unit in units if unit.name in run.metrics]
    return max(done, key=lambda unit: run.metrics[unit.name]["validation_accuracy"])


def _log_uniform(draw: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(draw.uniform(np.log(low), np.log(high))))
