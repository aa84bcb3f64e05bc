from pathlib import Path
from typing import Any

import pytest
import yaml

from fmnist_ray.errors import RequestError
from fmnist_ray.search.space import load_space, parse_space
from fmnist_ray.training.config import FitConfig

SPACES = sorted((Path(__file__).parents[2] / "search_spaces").glob("*.yaml"))
GOOD: dict[str, Any] = {
    "model": "cnn",
    "fixed": {"flip": True},
    "search": {
        "optimizer": {"choice": ["adam", "sgd"]},
        "learning_rate": {"loguniform": [0.0001, 0.01]},
        "dropout": {"quniform": [0.0, 0.3, 0.05]},
        "momentum": {"uniform": [0.8, 0.95]},
        "epochs": {"randint": [2, 13]},
    },
    "known_good": [
        {"optimizer": "adam", "learning_rate": 0.001, "dropout": 0.1, "momentum": 0.9, "epochs": 5}
    ],
}


def _with(**changes: Any) -> dict[str, Any]:
    content = yaml.safe_load(yaml.safe_dump(GOOD))
    for key, value in changes.items():
        if key in ("model", "fixed", "known_good"):
            content[key] = value
        else:
            content["search"][key] = value
    return content


@pytest.mark.parametrize("path", SPACES, ids=lambda path: path.stem)
def test_the_shipped_spaces_are_sound(path: Path) -> None:
    space = load_space(path).with_epochs_up_to(3)
    for index in range(200):
        config = FitConfig.checked(space.configuration(space.random(0, index)), str(path))
        assert config.epochs <= 3


def test_all_five_spaces_are_shipped() -> None:
    assert {path.stem for path in SPACES} >= {
        "dnn",
        "cnn",
        "resnet",
        "published-grid",
        "frameworks",
    }


def test_points_are_drawn_within_their_domains() -> None:
    space = parse_space(GOOD, "space.yaml")
    points = [space.random(1, index) for index in range(300)]
    assert {point["optimizer"] for point in points} == {"adam", "sgd"}
    assert all(0.0001 <= point["learning_rate"] <= 0.01 for point in points)
    assert sum(point["learning_rate"] < 0.001 for point in points) in range(110, 190)
    assert {point["dropout"] for point in points} == {0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3}
    assert {point["epochs"] for point in points} == set(range(2, 13))
    assert points[17] == space.random(1, 17)
    assert points[17] != space.random(2, 17)


def test_a_space_is_read_again_from_the_record() -> None:
    space = parse_space(GOOD, "space.yaml")
    assert parse_space(space.as_dict(), "space.yaml") == space


@pytest.mark.parametrize(
    ("domain", "values"),
    [
        ({"choice": [2, 5, 30]}, {2, 5, 10}),
        ({"randint": [2, 31]}, set(range(2, 11))),
        ({"randint": [20, 31]}, {10}),
        ({"quniform": [4, 30, 2]}, {4, 6, 8, 10}),
    ],
)
def test_epochs_are_cut_to_the_searchs(domain: dict, values: set[int]) -> None:
    space = parse_space(_with(epochs=domain, known_good=[]), "s").with_epochs_up_to(10)
    assert {space.random(0, index)["epochs"] for index in range(200)} == values


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (["not a mapping"], ["top level"]),
        ({**GOOD, "serach": {}}, ["serach", "known_good"]),
        ({**GOOD, "search": {}}, ["names nothing to search"]),
        ({k: v for k, v in GOOD.items() if k != "model"}, ["model", "cnn, resnet"]),
        (_with(model="transformer"), ["model", "transformer", "resnet"]),
        (_with(learning_rat={"choice": [1]}), ["learning_rat", "learning_rate"]),
        (_with(fixed={"flipp": True}), ["flipp"]),
        (_with(optimizer={"choice": ["adam", "adagrad"]}), ["optimizer", "adagrad", "nadam"]),
        (_with(optimizer={"choice": []}), ["optimizer", "empty choice"]),
        (_with(optimizer={"choose": ["adam"]}), ["optimizer", "choose", "loguniform"]),
        (_with(optimizer="adam"), ["optimizer", "domain"]),
        (_with(learning_rate={"uniform": [0.1, 0.001]}), ["learning_rate", "smaller"]),
        (_with(learning_rate={"loguniform": [0, 0.1]}), ["learning_rate", "above 0"]),
        (_with(learning_rate={"loguniform": ["1e-4", "1e-2"]}), ["learning_rate", "1.0e-4"]),
        (_with(learning_rate={"uniform": [0.1]}), ["learning_rate", "[low, high]"]),
        (_with(dropout={"quniform": [0.0, 0.3]}), ["dropout", "[low, high, step]"]),
        (_with(dropout={"quniform": [0.0, 0.3, -0.1]}), ["dropout", "step"]),
        (_with(dropout={"uniform": [0.5, 1.5]}), ["dropout", "less than 1"]),
        (_with(epochs={"randint": [1.5, 3]}), ["epochs", "whole numbers"]),
        (_with(fixed={"optimizer": "sgd"}), ["optimizer", "both"]),
        (_with(known_good=[{"optimizer": "adam"}]), ["known_good 1", "has no value here"]),
        (_with(known_good=[{"flip": True}]), ["known_good 1", "flip"]),
        (_with(known_good="adam"), ["known_good", "list"]),
    ],
)
def test_a_wrong_space_is_named_with_file_key_and_remedy(content: Any, parts: list[str]) -> None:
    with pytest.raises(RequestError) as error:
        parse_space(content, "my.yaml")
    for part in ["my.yaml", *parts]:
        assert part in str(error.value)


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    for name, content in {"broken.yaml": b"model: [", "binary.yaml": b"\xff\xfe\x00"}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(RequestError, match=name):
            load_space(tmp_path / name)
    with pytest.raises(RequestError, match=r"missing\.yaml does not exist"):
        load_space(tmp_path / "missing.yaml")
    with pytest.raises(RequestError, match="cannot be read"):
        load_space(tmp_path)


def test_spaces_that_there_are_are_named_in_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RequestError, match=r"There are: /.*/search_spaces/cnn\.yaml, "):
        load_space("missing.yaml")
    (tmp_path / "search_spaces").mkdir()
    (tmp_path / "search_spaces" / "mine.yaml").write_text("model: cnn")
    with pytest.raises(RequestError, match=r"There are: search_spaces/mine\.yaml\.$"):
        load_space("missing.yaml")


def test_a_grid_needs_choices() -> None:
    grid = _with(known_good=[])
    grid["search"] = {"optimizer": {"choice": ["adam", "sgd"]}, "batch_size": {"choice": [64, 128]}}
    assert parse_space(grid, "s").grid() == [
        {"optimizer": "adam", "batch_size": 64},
        {"optimizer": "adam", "batch_size": 128},
        {"optimizer": "sgd", "batch_size": 64},
        {"optimizer": "sgd", "batch_size": 128},
    ]
    with pytest.raises(RequestError, match=r"learning_rate.*random"):
        parse_space(GOOD, "s").grid()
