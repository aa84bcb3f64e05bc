"""Fine-tuning: what it changes, and that it goes on as if it had not been stopped."""

import numpy as np
import pytest
import torch

from fmnist_ray.models.config import Weights
from fmnist_ray.models.vgg import convolution_shapes
from fmnist_ray.models.vgg_torch import build_classifier
from fmnist_ray.training.checkpoint import Checkpoint
from fmnist_ray.training.contract import Device, EpochEnd, FitData
from fmnist_ray.training.finetune import FinetuneConfig, FinetuneEngine, Start
from fmnist_ray.training.loop import run_fit
from fmnist_ray.training.predict import predict

DEVICE = Device(precision="fp32", threads=2)
CONFIG = FinetuneConfig(backbone="vgg16", unfrozen=1, epochs=2, batch_size=20)


@pytest.fixture(scope="module")
def start() -> Start:
    draw = np.random.default_rng(0)
    convolutions: Weights = {
        name: draw.standard_normal(shape, np.float32) / np.float32(np.sqrt(4.5 * shape[0]))
        for name, shape in convolution_shapes("vgg16").items()
    }
    head: Weights = {
        "head.weight": draw.standard_normal((10, 512), np.float32) / 50,
        "head.bias": np.zeros(10, np.float32),
    }
    return Start(convolutions, head)


@pytest.fixture(scope="module")
def data(small_data: FitData) -> FitData:
    return FitData(small_data.images, small_data.labels, np.arange(40), np.arange(40, 60))


@pytest.mark.parametrize("unfrozen", [1, 2])
def test_the_last_blocks_and_the_head_change(start: Start, data: FitData, unfrozen: int) -> None:
    config = CONFIG.model_copy(update={"unfrozen": unfrozen, "epochs": 1})
    engine = FinetuneEngine(config, start, data, 0, DEVICE)
    (row,) = run_fit(engine, config, data, 0).history
    assert np.isfinite(row["train_loss"])
    assert 0 <= row["validation_accuracy"] <= 1
    weights = engine.weights()
    assert set(weights) == {*config.own_convolutions, *start.head}
    for name, value in weights.items():
        before = start.head.get(name, start.convolutions.get(name))
        assert before is not None
        assert not np.array_equal(value, before), name


def test_the_weights_make_the_classifier_that_it_predicts_with(start: Start, data: FitData) -> None:
    engine = FinetuneEngine(CONFIG, start, data, 0, DEVICE)
    run_fit(engine, CONFIG, data, 0)
    mean, deviation = 0.28604, 0.35302
    parts = (start.convolutions, engine.weights(), mean, deviation)
    module = build_classifier(CONFIG.architecture, *parts)
    images = data.images[:30]
    np.testing.assert_allclose(predict(module, images), engine.predict(images), atol=1e-4)


def test_it_goes_on_from_a_checkpoint_to_the_same_bits(start: Start, data: FitData) -> None:
    kept: list[bytes] = []

    def on_epoch(end: EpochEnd) -> None:
        kept.append(end.checkpoint().to_bytes())

    def engine() -> FinetuneEngine:
        return FinetuneEngine(CONFIG, start, data, 5, DEVICE)

    whole = run_fit(engine(), CONFIG, data, 5, on_epoch)
    again = run_fit(engine(), CONFIG, data, 5, checkpoint=Checkpoint.from_bytes(kept[0]))
    assert [row["epoch"] for row in again.history] == [1, 2]
    for name, value in whole.weights.items():
        np.testing.assert_array_equal(again.weights[name], value)


def test_bf16_is_near_fp32(start: Start, data: FitData) -> None:
    rough = Device(precision="bf16", threads=2)
    images = data.images[:30]
    found, exact = (
        FinetuneEngine(CONFIG, start, data, 0, device).predict(images) for device in (rough, DEVICE)
    )
    assert np.abs(found - exact).max() < 0.1
    assert torch.get_num_threads() == 2
