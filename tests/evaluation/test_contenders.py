"""What records of every verb say of their models."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fmnist_ray.errors import RequestError
from fmnist_ray.evaluation.contenders import Contender, find_contenders, unique_names
from fmnist_ray.records import write_predictions

SIZES = {"labels": 1000}
ONE = {"architecture": {"model": "cnn"}, "parameters": 121_930}


def member(*names: str) -> dict[str, Any]:
    return {"architecture": {"ensemble": {name: {"model": "cnn"} for name in names}}}


def write(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def record(
    folder: Path,
    verb: str,
    model: dict[str, Any],
    units: dict[str, dict[str, Any]],
    config: dict[str, Any],
    data: dict[str, Any] | None = None,
) -> Path:
    known = {"sha256": {"train_labels": "labels"}, **(data or {})}
    run = {"verb": verb, "status": "complete", "config": config, "data": known}
    times = {"started": "2026-01-01T10:00:00+00:00", "ended": "2026-01-01T10:02:30+00:00"}
    write(folder / "run.json", run | times)
    write(folder / "model.json", model)
    for unit, metrics in units.items():
        write(folder / "units" / unit / "metrics.json", metrics)
        write(folder / "units" / unit / "config.json", {"model": "cnn"})
        write(folder / "units" / unit / "model.json", ONE | {"unit": unit})
    return folder


def only(path: Path) -> Contender:
    (found,) = find_contenders(path, SIZES)
    return found


def test_a_search_counts_the_retrained_model_and_not_its_trials(tmp_path: Path) -> None:
    history = [{"images_per_second": speed} for speed in (100.0, 300.0, 200.0)]
    units = {
        "trial-0": {"busy_seconds": 50.0},
        "retrain-0": {"busy_seconds": 7.0, "history": history},
        "retrain-1": {"busy_seconds": 9.0},
    }
    path = record(
        tmp_path / "search",
        "tune",
        ONE | {"unit": "retrain-0"},
        units,
        {},
        {"train_images": 900, "validation_images": 100},
    )
    (path / "history.csv").write_text("unit,epoch,images_per_second\ntrial-0,1,55\n")
    final = only(path)
    assert (final.what, final.trained_on) == ("tune: cnn", "1,000 images")
    assert (final.fit_seconds, final.run_seconds) == (7, 150)
    assert (final.parameters, final.images_per_second) == (121_930, 200)
    trial = only(path / "units" / "trial-0")
    assert (trial.name, trial.what) == ("search/trial-0", "tune unit: cnn")
    assert (trial.trained_on, trial.fit_seconds) == ("900 images", 50)
    assert (trial.run_seconds, trial.images_per_second) == (None, 55)


def test_folds_and_members_are_summed(tmp_path: Path) -> None:
    units = {f"fold-{at}": {"busy_seconds": 10.0 + at} for at in (1, 2, 3)}
    path = record(tmp_path / "f", "cross_validate", member(*units), units, {"folds": 3})
    found = only(path)
    assert (found.what, found.fit_seconds) == ("cross_validate: 3 cnn", 36)
    assert found.trained_on == "each on 2 of 3 folds of 1,000 images"
    assert only(path / "units" / "fold-2").trained_on == "2 of 3 folds of 1,000 images"
    units = {name: {"busy_seconds": 5.0} for name in ("cnn-member-1", "cnn-member-2", "cnn-seed-1")}
    path = record(tmp_path / "e", "ensemble", member("cnn-member-1", "cnn-member-2"), units, {})
    found = only(path)
    assert (found.what, found.fit_seconds) == ("ensemble: 2 cnn", 10)
    assert found.trained_on == "each on a bootstrap sample of 1,000 images"
    assert only(path / "units" / "cnn-seed-1").trained_on == "1,000 images"


def test_the_seconds_are_unknown_if_those_of_one_member_are(tmp_path: Path) -> None:
    units = {"fold-1": {"busy_seconds": 10.0}, "fold-2": {}}
    path = record(tmp_path / "f", "cross_validate", member(*units), units, {"folds": 2})
    assert only(path).fit_seconds is None


def test_a_training_counts_the_images_it_held_out(tmp_path: Path) -> None:
    config = {"validation_fraction": 0.1, "fit": {"framework": "tensorflow"}}
    path = record(tmp_path / "t", "train", ONE | {"unit": "fit"}, {"fit": {}}, config)
    assert only(path).trained_on == "90% of 1,000 images"
    held_out = path / "units" / "fit" / "predictions.npz"
    write_predictions(held_out, np.arange(97), np.zeros(97), np.zeros((97, 10)))
    assert only(path).trained_on == "903 images"
    assert only(path).what == "train: cnn, TensorFlow"
    assert find_contenders(path)[0].trained_on == "90% of the training images"


def test_the_features_of_a_backbone_are_part_of_the_fit(tmp_path: Path) -> None:
    model = {"architecture": {"backbone": "vgg16", "unfrozen": 0}, "parameters": 5130}
    history = [{"images_per_second": 400_000.0}]
    units = {"final": {"busy_seconds": 3.0, "train_images": 800, "history": history}}
    path = record(tmp_path / "v", "transfer", model | {"unit": "final"}, units, {})
    assert only(path).fit_seconds is None, "how long the features took is not known"
    write(path / "metrics.json", {"feature_seconds": 80.0})
    found = only(path)
    assert (found.what, found.trained_on) == ("transfer: vgg16, new output layer", "800 images")
    assert found.fit_seconds == 83
    assert found.images_per_second is None, "they are features per second"


@pytest.mark.parametrize("run", [{}, {"config": 3, "data": [1], "started": 5, "verb": None}])
def test_what_a_record_of_another_layout_lacks_is_unknown(
    tmp_path: Path, run: dict[str, Any]
) -> None:
    write(tmp_path / "old" / "run.json", run)
    write(tmp_path / "old" / "model.json", {"architecture": [1], "parameters": "many"})
    found = only(tmp_path / "old")
    assert found.status == "unknown"
    assert found.trained_on is found.parameters is found.fit_seconds is found.run_seconds is None


def test_damage_and_absence_are_told(tmp_path: Path) -> None:
    path = record(tmp_path / "t", "train", ONE | {"unit": "fit"}, {"fit": {}}, {})
    with pytest.raises(RequestError, match="no such unit"):
        find_contenders(path / "units" / "other")
    (path / "units" / "fit" / "metrics.json").write_text("{")
    with pytest.raises(RequestError, match=r"metrics\.json cannot be read"):
        find_contenders(path)
    (path / "units" / "fit" / "metrics.json").write_text("{}")
    (path / "history.csv").write_bytes(b'\xff\x00unit,"\n\n1,2,3')
    assert only(path).images_per_second is None
    baselines = record(tmp_path / "b", "baselines", {}, {}, {})
    with pytest.raises(RequestError, match=r"no classical model.*fmnist_ray\.baselines --name b"):
        find_contenders(baselines)


def test_names_get_as_many_folders_as_it_takes(tmp_path: Path) -> None:
    paths = [tmp_path / each for each in ("x/a/r", "y/a/r", "y/b/r", "y/b/s")]
    found = [only(record(path, "train", ONE | {"unit": "fit"}, {}, {})) for path in paths]
    assert unique_names(found) == ["x/a/r", "y/a/r", "b/r", "s"]
