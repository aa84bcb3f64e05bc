"""Which predictions a temperature is fitted on."""

from pathlib import Path

import numpy as np
import pytest

from fmnist_ray.dataset.arrays import fingerprint
from fmnist_ray.dataset.sources import load_dataset
from fmnist_ray.errors import RequestError
from fmnist_ray.evaluation.calibration import fit_temperature
from fmnist_ray.evaluation.held_out import (
    fitted_temperature,
    gives_probabilities,
    unseen_predictions,
    validation_predictions,
)
from fmnist_ray.records import Record, write_json, write_predictions

DATASET = load_dataset("sample")


def begin(results: Path, verb: str) -> Record:
    record = Record.create(results, "run", verb, "cnn")
    record.start(verb, {}, 0, {"sha256": fingerprint(DATASET)})
    return record


def write(path: Path, labels: np.ndarray, right: float = 0.8) -> np.ndarray:
    generator = np.random.default_rng(0)
    probability = np.full((len(labels), 10), (1 - right) / 9, np.float32)
    probability[np.arange(len(labels)), labels] = right
    flipped = generator.random(len(labels)) < 0.4
    probability[flipped] = np.roll(probability[flipped], 1, axis=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_predictions(path, np.arange(len(labels)), labels, probability)
    return probability


def test_a_training_is_judged_by_its_own_validation_images(tmp_path: Path) -> None:
    record = begin(tmp_path, "train")
    labels = DATASET.train.labels[:200]
    probability = write(record.unit("fit") / "predictions.npz", labels)
    found = fitted_temperature(record)
    assert found is not None
    assert found.value == pytest.approx(fit_temperature(labels, probability))
    assert found.origin == "its validation images"


@pytest.mark.parametrize("verb", ["tune", "transfer"])
def test_a_retrained_model_is_judged_by_the_trial_with_its_configuration(
    tmp_path: Path, verb: str
) -> None:
    record = begin(tmp_path, verb)
    write(record.unit("trial-3") / "predictions.npz", DATASET.train.labels[:200])
    write(record.unit("trial-4") / "predictions.npz", DATASET.train.labels[:200], right=0.99)
    record.write_metrics({"best_unit": "trial-3"})
    found = validation_predictions(record)
    assert found is not None
    assert "trial-3" in found.origin
    assert found.predictions.probability.max() == pytest.approx(0.8)


def test_predictions_of_the_test_images_are_never_taken(tmp_path: Path) -> None:
    record = begin(tmp_path, "tune")
    write(record.unit("retrain-0") / "predictions.npz", DATASET.test.labels)
    record.write_metrics({"best_unit": "retrain-0"})
    assert validation_predictions(record) is None
    assert validation_predictions(record, "retrain-0") is None


def test_a_bootstrap_ensemble_has_its_out_of_bag_predictions_and_seeds_have_none(
    tmp_path: Path,
) -> None:
    record = begin(tmp_path, "ensemble")
    write(record.path / "out_of_bag.npz", DATASET.train.labels)
    record.write_metrics({"final": "cnn bootstrap"})
    found = validation_predictions(record)
    assert found is not None
    assert "out-of-bag" in found.origin
    record.write_metrics({"final": "cnn seeds"})
    assert validation_predictions(record) is None


def test_an_average_of_folds_has_none(tmp_path: Path) -> None:
    record = begin(tmp_path, "cross_validate")
    write(record.path / "out_of_fold.npz", DATASET.train.labels)
    write(record.unit("fold-1") / "predictions.npz", DATASET.train.labels[:200])
    assert validation_predictions(record) is None
    assert validation_predictions(record, "fold-1") is not None
    unseen = unseen_predictions(record)
    assert unseen is not None
    assert unseen.origin == "out-of-fold predictions"


def test_a_run_without_predictions_has_none(tmp_path: Path) -> None:
    for verb in ("train", "tune", "ensemble"):
        assert validation_predictions(begin(tmp_path / verb, verb)) is None
    assert unseen_predictions(begin(tmp_path / "other", "tune")) is None


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    record = begin(tmp_path, "train")
    path = record.unit("fit") / "predictions.npz"
    write(path, DATASET.train.labels[:200])
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(RequestError, match=r"units/fit/predictions\.npz is damaged"):
        validation_predictions(record)


def test_only_an_svm_gives_scores(tmp_path: Path) -> None:
    record = begin(tmp_path, "baselines")
    record.write_metrics({"best_model": "svm"})
    assert not gives_probabilities(record)
    for model in ("svm", "random_forest"):
        write_json(record.unit(f"{model}-final") / "config.json", {"model": model})
    assert not gives_probabilities(record, "svm-final")
    assert gives_probabilities(record, "random_forest-final")
    record.write_metrics({"best_model": "random_forest"})
    assert gives_probabilities(record)
    assert gives_probabilities(begin(tmp_path / "other", "tune"))
