import dataclasses
import subprocess
import sys

import numpy as np
import pytest

from fmnist_ray.errors import DivergedError
from fmnist_ray.training.checkpoint import Checkpoint
from fmnist_ray.training.config import OPTIMIZER_NAMES, FitConfig
from fmnist_ray.training.contract import Device, FitData, FitResult
from fmnist_ray.training.fit import _engine, fit, predict_with
from fmnist_ray.training.keras_engine import _shared


def keras_config(**changes: object) -> FitConfig:
    return FitConfig.model_validate({"model": "cnn", "framework": "tensorflow", **changes})


def same_weights(one: FitResult, other: FitResult) -> bool:
    return one.weights.keys() == other.weights.keys() and all(
        np.array_equal(value, other.weights[name]) for name, value in one.weights.items()
    )


def test_it_learns(small_data: FitData) -> None:
    config = keras_config(epochs=6, learning_rate=0.005, batch_size=50)
    found = fit(config, small_data, 0, Device(precision="fp32"))
    assert [row["epoch"] for row in found.history] == [1, 2, 3, 4, 5, 6]
    assert found.history[-1]["validation_accuracy"] > 0.7
    assert found.history[-1]["train_loss"] < found.history[0]["train_loss"]
    assert found.probability is not None
    np.testing.assert_allclose(found.probability.sum(1), 1, atol=1e-5)
    validation = small_data.images[small_data.validation]
    predicted = predict_with(config, found.weights, validation)
    np.testing.assert_allclose(predicted, found.probability, atol=1e-5)
    # The same weights in the other framework.
    by_torch = predict_with(
        config.model_copy(update={"framework": "torch"}), found.weights, validation
    )
    np.testing.assert_allclose(by_torch, predicted, atol=1e-5)


@pytest.mark.parametrize("model", ["dnn", "cnn"])
def test_the_same_seed_repeats_bit_for_bit(model: str, small_data: FitData) -> None:
    config = keras_config(model=model, epochs=2, dropout=0.2, flip=True, shift_pixels=2)
    first, second = (fit(config, small_data, 3) for _ in range(2))
    assert same_weights(first, second)
    assert not same_weights(first, fit(config, small_data, 4))


@pytest.mark.parametrize("optimizer", OPTIMIZER_NAMES)
def test_going_on_from_a_checkpoint_equals_not_having_stopped(
    optimizer: str, small_data: FitData
) -> None:
    config = keras_config(
        optimizer=optimizer,
        epochs=3,
        learning_rate=0.003,
        weight_decay=0.001,
        label_smoothing=0.1,
        rotation_degrees=10,
        erase_probability=0.3,
    )
    saved: list[bytes] = []
    whole = fit(
        config, small_data, 5, on_epoch=lambda end: saved.append(end.checkpoint().to_bytes())
    )
    resumed = fit(config, small_data, 5, checkpoint=Checkpoint.from_bytes(saved[0]))
    assert len(resumed.history) == 3
    assert same_weights(whole, resumed)


@pytest.mark.parametrize("optimizer", OPTIMIZER_NAMES)
@pytest.mark.parametrize("weight_decay", [0.0, 0.05])
def test_both_frameworks_take_the_same_steps(
    optimizer: str, weight_decay: float, small_data: FitData
) -> None:
    config = keras_config(
        model="dnn",
        optimizer=optimizer,
        weight_decay=weight_decay,
        label_smoothing=0.1,
        flip=True,
        shift_pixels=2,
        learning_rate=0.0005,
        batch_size=60,
        epochs=2,
        # Keras' RMSprop keeps the rate of each step in its momentum, torch's does not.
        schedule="constant",
    )
    # RMSprop's first steps are ten times as long, whatever the gradient, and so is what rounding
    # makes of them; Keras' NAdam lets its momentum grow faster than torch's.
    tolerance = {"rmsprop": 20, "nadam": 10}.get(optimizer, 1)
    device = Device(precision="fp32")
    torch_engine, keras_engine = (
        _engine(each, small_data, 3, device)
        for each in (config.model_copy(update={"framework": "torch"}), config)
    )
    keras_engine.load_weights(torch_engine.weights())
    for epoch in (1, 2):
        expected, found = torch_engine.train_epoch(epoch), keras_engine.train_epoch(epoch)
        np.testing.assert_allclose(found[0], expected[0], rtol=1e-3 * tolerance)
        assert found[1] == pytest.approx(expected[1], abs=0.01)
    theirs = keras_engine.weights()
    for name, value in torch_engine.weights().items():
        difference = np.abs(theirs[name] - value).mean()
        assert difference < tolerance * (0.005 * np.abs(value).mean() + 1e-4), name


def test_early_stopping_restores_the_weights_of_the_lowest_loss(small_data: FitData) -> None:
    config = keras_config(
        model="dnn", epochs=30, learning_rate=0.01, early_stopping=2, batch_size=20
    )
    found = fit(config, small_data, 0)
    losses = [row["validation_loss"] for row in found.history]
    assert len(losses) < 30
    assert found.probability is not None
    labels = small_data.labels[small_data.validation]
    loss = -np.log(found.probability[np.arange(len(labels)), labels]).mean()
    assert loss == pytest.approx(min(losses), rel=1e-4)


def test_bf16_learns_like_fp32(small_data: FitData) -> None:
    config = keras_config(epochs=3, dropout=0.0)
    losses = [
        fit(config, small_data, 0, Device(precision=precision)).history[-1]["train_loss"]
        for precision in ("fp32", "bf16")
    ]
    assert losses[0] == pytest.approx(losses[1], rel=0.05)


def test_a_loss_that_is_no_number_is_reported_with_its_cause(small_data: FitData) -> None:
    config = keras_config(model="dnn", optimizer="sgd", learning_rate=100.0, schedule="constant")
    with pytest.raises(DivergedError, match="learning rate 100"):
        fit(config, small_data, 0)


def test_aligned_images_are_not_copied() -> None:
    memory = np.zeros(64 + 5 * 28 * 28, np.uint8)
    start = -memory.ctypes.data % 64
    aligned = memory[start : start + 5 * 28 * 28].reshape(5, 28, 28)
    other = memory[start + 1 : start + 1 + 4 * 28 * 28].reshape(4, 28, 28)
    shared, copied = _shared(aligned), _shared(other)
    memory[:] = 7
    assert shared.numpy().min() == 7
    assert copied.numpy().max() == 0


def test_without_validation_images_there_are_no_validation_figures(small_data: FitData) -> None:
    data = dataclasses.replace(small_data, validation=None)
    found = fit(keras_config(model="dnn", epochs=1), data, 0)
    assert "validation_accuracy" not in found.history[0]


@pytest.mark.parametrize(("framework", "other"), [("torch", "tensorflow"), ("tensorflow", "torch")])
def test_a_fit_imports_one_framework_only(framework: str, other: str) -> None:
    code = f"""
import sys
import numpy as np
from fmnist_ray.dataset.sources import load_dataset
from fmnist_ray.training.config import FitConfig
from fmnist_ray.training.contract import FitData
from fmnist_ray.training.fit import fit, predict_with
split = load_dataset("sample").train
config = FitConfig(model="cnn", framework="{framework}", epochs=1, rotation_degrees=5)
found = fit(config, FitData(split.images, split.labels, np.arange(200)), 0)
predict_with(config, found.weights, split.images[:10])
print("{framework}" in sys.modules, "{other}" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False"]
