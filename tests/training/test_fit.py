import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from fmnist_ray.errors import DivergedError
from fmnist_ray.training.checkpoint import Checkpoint
from fmnist_ray.training.config import OPTIMIZER_NAMES, FitConfig
from fmnist_ray.training.contract import Device, EpochEnd, FitData, FitResult
from fmnist_ray.training.fit import fit

TIMES = ("seconds", "images_per_second")


def _same_weights(one: FitResult, other: FitResult) -> bool:
    return one.weights.keys() == other.weights.keys() and all(
        np.array_equal(value, other.weights[name]) for name, value in one.weights.items()
    )


def _figures(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k not in TIMES} for row in history]


@pytest.mark.parametrize("model", ["dnn", "cnn", "resnet"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_same_seed_repeats_bit_for_bit(model: str, precision: str, small_data: FitData) -> None:
    config = FitConfig(model=model, epochs=2, dropout=0.2, flip=True, shift_pixels=2, width=4)
    first, second = (fit(config, small_data, 3, Device(precision=precision)) for _ in range(2))
    assert _same_weights(first, second)
    assert _figures(first.history) == _figures(second.history)
    assert not _same_weights(first, fit(config, small_data, 4, Device(precision=precision)))


@pytest.mark.parametrize("optimizer", OPTIMIZER_NAMES)
@pytest.mark.parametrize("schedule", ["constant", "one_cycle"])
def test_going_on_from_a_checkpoint_equals_not_having_stopped(
    optimizer: str, schedule: str, small_data: FitData
) -> None:
    config = FitConfig(
        model="cnn",
        optimizer=optimizer,
        schedule=schedule,
        epochs=4,
        learning_rate=0.003,
        weight_decay=0.001,
        label_smoothing=0.1,
        flip=True,
        erase_probability=0.3,
    )
    saved: list[bytes] = []
    whole = fit(config, small_data, 5, on_epoch=lambda end: saved.append(_bytes(end)))
    resumed = fit(config, small_data, 5, checkpoint=Checkpoint.from_bytes(saved[1]))
    assert _same_weights(whole, resumed)
    assert _figures(resumed.history) == _figures(whole.history)


def _bytes(end: EpochEnd) -> bytes:
    return end.checkpoint().to_bytes()


def test_it_learns(small_data: FitData) -> None:
    result = fit(FitConfig(epochs=8, learning_rate=0.005), small_data, 0)
    assert result.history[-1]["validation_accuracy"] > 0.7
    assert result.history[-1]["train_loss"] < result.history[0]["train_loss"] / 2


def test_early_stopping_ends_and_restores_the_best_weights(small_data: FitData) -> None:
    config = FitConfig(
        model="dnn", epochs=60, learning_rate=0.01, schedule="constant", early_stopping=3
    )
    saved: dict[int, Checkpoint] = {}
    result = fit(
        config,
        small_data,
        1,
        on_epoch=lambda end: saved.update({end.row["epoch"]: end.checkpoint()}),
    )
    losses = [row["validation_loss"] for row in result.history]
    best = int(np.argmin(losses)) + 1
    assert len(losses) == best + 3 < 60
    assert all(np.array_equal(v, result.weights[k]) for k, v in saved[best].weights.items())
    assert not np.array_equal(
        saved[len(losses)].weights["output.bias"], result.weights["output.bias"]
    )


def test_early_stopping_is_the_same_after_going_on(small_data: FitData) -> None:
    config = FitConfig(
        model="dnn", epochs=60, learning_rate=0.01, schedule="constant", early_stopping=2
    )
    saved: list[Checkpoint] = []
    whole = fit(config, small_data, 1, on_epoch=lambda end: saved.append(end.checkpoint()))
    for cut in (0, len(saved) - 2, len(saved) - 1):
        resumed = fit(config, small_data, 1, checkpoint=saved[cut])
        assert len(resumed.history) == len(whole.history)
        assert _same_weights(whole, resumed)


def test_without_validation_images_there_are_no_validation_figures(small_data: FitData) -> None:
    data = dataclasses.replace(small_data, validation=None)
    result = fit(FitConfig(model="dnn", epochs=1), data, 0)
    assert "validation_accuracy" not in result.history[0]
    assert result.probability is None


def test_validation_probabilities_give_the_reported_accuracy(small_data: FitData) -> None:
    result = fit(FitConfig(model="dnn", epochs=2), small_data, 0)
    assert result.probability is not None
    right = result.probability.argmax(1) == small_data.labels[small_data.validation]
    assert right.mean() == result.history[-1]["validation_accuracy"]


def test_a_loss_that_is_no_number_is_reported_with_its_cause(small_data: FitData) -> None:
    config = FitConfig(model="dnn", optimizer="sgd", learning_rate=100.0, schedule="constant")
    with pytest.raises(DivergedError, match="learning rate 100"):
        fit(config, small_data, 0, Device(precision="fp32"))


def test_bf16_and_fp32_agree_closely(small_data: FitData) -> None:
    config = FitConfig(model="cnn", epochs=3, dropout=0.0)
    losses = [
        fit(config, small_data, 0, Device(precision=precision)).history[-1]["train_loss"]
        for precision in ("fp32", "bf16")
    ]
    assert losses[0] == pytest.approx(losses[1], rel=0.05)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_learns_like_a_cpu(small_data: FitData) -> None:
    config = FitConfig(epochs=8, learning_rate=0.005)
    on_cpu = fit(config, small_data, 0).history[-1]
    on_gpu = fit(config, small_data, 0, Device("cuda")).history[-1]
    assert on_gpu["validation_accuracy"] == pytest.approx(on_cpu["validation_accuracy"], abs=0.06)
