import dataclasses

import numpy as np
import pytest

from fmnist_ray.errors import DivergedError
from fmnist_ray.training.config import FRAMEWORK_NAMES, FitConfig
from fmnist_ray.training.contract import FitData
from fmnist_ray.training.fit import fit
from fmnist_ray.training.ray_train import Resources, train_here, train_in_workers

pytestmark = pytest.mark.ray
CONFIG = FitConfig(model="cnn", epochs=2, dropout=0.2, flip=True)


@pytest.mark.parametrize("framework", FRAMEWORK_NAMES)
def test_both_modes_give_the_weights_of_a_plain_fit(
    framework: str, small_data: FitData, ray_cluster: None
) -> None:
    import ray

    config = CONFIG.model_copy(update={"framework": framework})
    plain = fit(config, small_data, 3)
    here = train_here(config, small_data, 3, Resources())
    in_worker = train_in_workers(config, ray.put(small_data), 3, Resources(workers=1))
    for name, value in plain.weights.items():
        assert np.array_equal(value, here.weights[name])
        assert np.array_equal(value, in_worker.weights[name])


@pytest.mark.parametrize("framework", FRAMEWORK_NAMES)
def test_two_workers_see_each_image_once_and_agree(
    framework: str, small_data: FitData, ray_cluster: None
) -> None:
    import ray

    # Without what is drawn per worker, two workers take the very steps of one, but for rounding.
    changes = {"dropout": 0.0, "flip": False, "batch_size": 50, "framework": framework}
    config = CONFIG.model_copy(update=changes)
    data = dataclasses.replace(small_data, train=np.arange(599))
    resources = Resources(workers=2, precision="fp32")
    alone = train_here(config, data, 3, Resources(precision="fp32"))
    shared = train_in_workers(config, ray.put(data), 3, resources)
    for name, value in alone.weights.items():
        np.testing.assert_allclose(shared.weights[name], value, rtol=1e-3, atol=1e-4)
    for mine, theirs in zip(alone.history, shared.history, strict=True):
        # Shares of all 599 images: had one been left out or seen twice, it would show.
        assert mine["train_accuracy"] * 599 == pytest.approx(round(mine["train_accuracy"] * 599))
        assert theirs["train_accuracy"] == pytest.approx(mine["train_accuracy"], abs=0.004)
        assert theirs["train_loss"] == pytest.approx(mine["train_loss"], rel=1e-3)
        assert theirs["validation_loss"] == pytest.approx(mine["validation_loss"], rel=1e-3)
    assert shared.probability is not None
    assert shared.probability.shape == (200, 10)


def test_divergence_in_a_worker_keeps_its_reason(small_data: FitData, ray_cluster: None) -> None:
    import ray

    config = FitConfig(model="dnn", optimizer="sgd", learning_rate=100.0, schedule="constant")
    resources = Resources(workers=1, precision="fp32")
    with pytest.raises(DivergedError, match="learning rate 100"):
        train_in_workers(config, ray.put(small_data), 0, resources)
