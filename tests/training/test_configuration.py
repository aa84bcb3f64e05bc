from pathlib import Path

import pytest

from fmnist_ray.errors import RequestError
from fmnist_ray.records import Record, write_json
from fmnist_ray.training.config import FitConfig
from fmnist_ray.training.configuration import read_configuration


def _record(folder: Path, verb: str, config: dict) -> Record:
    record = Record.create(folder, verb, verb, "cnn")
    record.start(verb, config, 0, {})
    return record


def test_settings_go_before_the_file_and_that_before_defaults(tmp_path: Path) -> None:
    file = tmp_path / "some.yaml"
    file.write_text("model: dnn\nepochs: 3\nlearning_rate: 1e-2\n")
    found = read_configuration(None, str(file), ["epochs=5"])
    assert (found.model, found.epochs, found.learning_rate) == ("dnn", 5, 0.01)
    assert read_configuration("resnet", str(file)).model == "resnet"
    assert read_configuration(None, None) == FitConfig()


def test_a_searchs_best_configuration_is_taken(tmp_path: Path) -> None:
    record = _record(tmp_path, "tune", {})
    with pytest.raises(RequestError, match="no best trial yet"):
        read_configuration(None, str(record.path))
    best = FitConfig(model="dnn", epochs=7)
    write_json(record.unit("trial-003") / "config.json", best.model_dump())
    record.write_metrics({"best_unit": "trial-003"})
    assert read_configuration(None, str(record.path)) == best


def test_the_configuration_of_a_training_is_taken_and_that_of_several_is_not(
    tmp_path: Path,
) -> None:
    fit = FitConfig(model="dnn", epochs=7)
    record = _record(tmp_path, "cross_validate", {"fit": fit.model_dump()})
    assert read_configuration(None, str(record.path)) == fit
    record = _record(tmp_path, "ensemble", {"fits": {}})
    with pytest.raises(RequestError, match="record of `ensemble`, which has no single"):
        read_configuration(None, str(record.path))


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("epochs: 3", "names no model"),
        ("- model", "must hold settings"),
        ("model: [", "is not YAML"),
        ("model: cnn\nepoch: 3", "unknown key `epoch`"),
    ],
)
def test_a_wrong_file_is_refused(text: str, part: str, tmp_path: Path) -> None:
    file = tmp_path / "some.yaml"
    file.write_text(text)
    with pytest.raises(RequestError, match=part):
        read_configuration(None, str(file))
