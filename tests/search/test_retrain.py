from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fmnist_ray.dataset.arrays import Dataset
from fmnist_ray.dataset.sources import load_dataset
from fmnist_ray.dispatch.plan import Node
from fmnist_ray.errors import WorkError
from fmnist_ray.models.storage import load_model
from fmnist_ray.records import Record
from fmnist_ray.search.retrain import retrain, retrain_units
from fmnist_ray.training.config import FitConfig
from fmnist_ray.training.predict import predict
from fmnist_ray.training.ray_train import Resources

CONFIG = FitConfig(model="dnn", epochs=2, early_stopping=1)
IMAGES = np.arange(300)


@pytest.fixture(scope="module")
def sample() -> Dataset:
    return load_dataset("sample")


def _retrain(record: Record, dataset: Dataset, seen: list[Any], **options: Any) -> list[dict]:
    config = CONFIG.model_copy(update=options.pop("config", {}))
    units = retrain_units(config, options.pop("count", 2), 0, IMAGES)
    resources = Resources(precision="fp32")
    return retrain(
        record,
        units,
        dataset,
        [Node(cpus=2)],
        resources,
        None,
        lambda unit, row: seen.append((unit, row["epoch"])),
    )


def test_each_fit_has_a_seed_of_its_own_that_more_fits_do_not_change() -> None:
    units = retrain_units(CONFIG, 5, 7, IMAGES)
    assert [unit.name for unit in units] == [f"retrain-{number}" for number in range(5)]
    assert len({unit.seed for unit in units}) == 5
    assert [unit.seed for unit in retrain_units(CONFIG, 2, 7, IMAGES)] == [
        unit.seed for unit in units[:2]
    ]
    assert retrain_units(CONFIG, 1, 8, IMAGES)[0].seed != units[0].seed


def test_all_images_are_trained_on_for_all_epochs() -> None:
    (unit,) = retrain_units(CONFIG, 1, 0, IMAGES)
    assert unit.validation is None
    assert unit.config == CONFIG.model_copy(update={"early_stopping": None})
    assert np.array_equal(unit.train, IMAGES)


@pytest.mark.ray
def test_only_what_the_record_lacks_is_trained(
    sample: Dataset, ray_cluster: None, tmp_path: Path
) -> None:
    record, seen = Record(tmp_path), []
    first = _retrain(record, sample, seen)
    assert sorted(seen) == [(f"retrain-{number}", epoch) for number in (0, 1) for epoch in (1, 2)]
    seen.clear()
    assert _retrain(record, sample, seen) == first
    assert seen == []
    assert _retrain(record, sample, seen, count=3)[:2] == first
    assert {unit for unit, _ in seen} == {"retrain-2"}
    # Another configuration, as of a better trial after a resume, is another model.
    seen.clear()
    _retrain(record, sample, seen, config={"activation": "tanh"})
    assert {unit for unit, _ in seen} == {"retrain-0", "retrain-1"}
    module, config = load_model(record.unit("retrain-1"))
    assert config.activation == "tanh"
    assert predict(module, sample.test.images[:3]).shape == (3, 10)


@pytest.mark.ray
def test_a_fit_that_fails_is_named_and_the_others_are_kept(
    sample: Dataset, ray_cluster: None, tmp_path: Path
) -> None:
    bad = {"optimizer": "sgd", "learning_rate": 100.0, "schedule": "constant", "epochs": 3}
    with pytest.raises(WorkError, match=r"retrain-0: .*learning rate 100"):
        _retrain(Record(tmp_path), sample, [], count=1, config=bad)
