import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from fmnist_ray.dataset.arrays import Dataset
from fmnist_ray.dataset.sources import load_dataset
from fmnist_ray.dispatch.plan import Node
from fmnist_ray.dispatch.run_name import RunName
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


def _retrain(record: Record, dataset: Dataset, **options: Any) -> list[dict]:
    config = CONFIG.model_copy(update=options.pop("config", {}))
    units = retrain_units(config, options.pop("count", 2), 0, IMAGES)
    resources = Resources(precision="fp32")
    return retrain(
        record,
        RunName("tune", record.name, "dnn"),
        units,
        dataset,
        [Node(cpus=2)],
        resources,
        None,
        Console(quiet=True),
        [{"unit": "trial-000", "epoch": 1, "train_loss": 0.5}],
    )


def _written(record: Record) -> dict[str, int]:
    return {
        path.parent.name: path.stat().st_mtime_ns
        for path in record.path.glob("units/*/model.safetensors")
    }


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
    assert unit.held_out is None
    assert unit.config == CONFIG.model_copy(update={"early_stopping": None})
    assert np.array_equal(unit.train, IMAGES)


@pytest.mark.ray
def test_only_what_the_record_lacks_is_trained(
    sample: Dataset, ray_cluster: None, tmp_path: Path
) -> None:
    record = Record(tmp_path)
    first = _retrain(record, sample)
    with (tmp_path / "history.csv").open() as stream:
        rows = [(row["unit"], row["epoch"]) for row in csv.DictReader(stream)]
    fits = [(f"retrain-{number}", epoch) for number in (0, 1) for epoch in "12"]
    assert rows == [("trial-000", "1"), *fits]
    written = _written(record)
    assert _retrain(record, sample) == first
    assert _written(record) == written
    assert _retrain(record, sample, count=3)[:2] == first
    assert _written(record).items() > written.items()
    # Another configuration, as of a better trial after a resume, is another model.
    _retrain(record, sample, config={"activation": "tanh"})
    again = _written(record)
    assert {unit for unit, when in again.items() if when != written.get(unit)} == {
        "retrain-0",
        "retrain-1",
        "retrain-2",
    }
    module, config = load_model(record.unit("retrain-1"))
    assert config.activation == "tanh"
    assert predict(module, sample.test.images[:3]).shape == (3, 10)


@pytest.mark.ray
def test_a_fit_that_fails_is_named_and_the_others_are_kept(
    sample: Dataset, ray_cluster: None, tmp_path: Path
) -> None:
    bad = {"optimizer": "sgd", "learning_rate": 100.0, "schedule": "constant", "epochs": 3}
    with pytest.raises(WorkError, match=r"retrain-0: .*learning rate 100"):
        _retrain(Record(tmp_path), sample, count=1, config=bad)
