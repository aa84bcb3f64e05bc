"""`explore` as a person runs it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from fmnist_ray import explore as explore_verb
from fmnist_ray.dataset.arrays import CLASS_NAMES
from fmnist_ray.dataset.export import export_dataset
from fmnist_ray.dataset.layouts import Layout
from fmnist_ray.dataset.sources import load_dataset
from fmnist_ray.explore import explore
from fmnist_ray.records import read_json


@pytest.fixture(scope="module")
def explored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    results = tmp_path_factory.mktemp("results")
    metrics = explore(data="sample", name="sample", embedded=200, results=str(results), quiet=True)
    return results / "sample", metrics


def test_the_record_is_whole(explored: tuple[Path, dict[str, Any]]) -> None:
    record, metrics = explored
    run = read_json(record / "run.json")
    assert (run["status"], run["verb"]) == ("complete", "explore")
    assert {k: v for k, v in metrics.items() if k != "record"} == read_json(record / "metrics.json")
    assert (metrics["train_images"], metrics["test_images"]) == (2_000, 500)
    assert metrics["train_balance_p_value"] == 1
    train = load_dataset("sample").train.images
    assert metrics["train_pixel_mean"] == pytest.approx(train.mean(), rel=1e-4)
    figures = {path.stem for path in (record / "figures").glob("*.png")}
    assert figures >= {"samples", "classes", "intensities", "mean_images", "correlations", "map"}


def test_the_correlations_are_a_table_of_785_columns(
    explored: tuple[Path, dict[str, Any]],
) -> None:
    record, metrics = explored
    table = pd.read_csv(record / "correlation_train.csv")
    assert table.shape == (785, 785)
    assert list(table.columns[:2]) == ["label", "pixel1"]
    assert table.columns[-1] == "pixel784"
    strongest = metrics["pixel_most_correlated_with_label"]
    assert table["label"][strongest] == pytest.approx(metrics["its_correlation"], abs=1e-6)


def test_classes_are_told_by_name(explored: tuple[Path, dict[str, Any]]) -> None:
    table = pd.read_csv(explored[0] / "classes.csv")
    assert list(table["class"]) == list(CLASS_NAMES) * 2
    assert set(table["images"]) == {200, 50}


def test_near_duplicates_are_listed_and_drawn(tmp_path: Path) -> None:
    dataset = load_dataset("sample")
    images = dataset.train.images.copy()
    images[7] = dataset.test.images[3]
    images[7, 5, 5] ^= 8
    images[9] = images[8]
    changed = replace(dataset, train=replace(dataset.train, images=images))
    export_dataset(changed, Layout.IDX, tmp_path / "data")
    metrics = explore(
        data=str(tmp_path / "data"), near=2, embedded=0, results=str(tmp_path), name="near"
    )
    assert metrics["train_duplicates"] == 1
    assert metrics["near_duplicates_test_and_train"] == 1
    table = pd.read_csv(tmp_path / "near" / "near_duplicates.csv")
    (row,) = table[table["splits"] == "test and train"].to_dict("records")
    assert (row["first"], row["second"]) == (3, 7)
    assert row["distance"] == pytest.approx(8 / 28, rel=1e-3)
    assert (tmp_path / "near" / "figures" / "near_duplicates.png").stat().st_size > 1_000
    assert not (tmp_path / "near" / "figures" / "map.png").exists()


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (["--near", "-1"], "--near is -1"),
        (["--embedded", "-5"], "--embedded is -5"),
        (["--data", "/nowhere"], "/nowhere"),
        (["--data", "sample", "--name", "a/b"], "'a/b' cannot be a name"),
    ],
)
def test_a_wrong_request_is_refused(options: list[str], part: str, tmp_path: Path) -> None:
    results = tmp_path / "results"
    found = CliRunner().invoke(explore_verb.app, ["--results", str(results), *options])
    assert found.exit_code == 2, found.output
    assert part in " ".join(found.stderr.split())
    assert not results.exists() or not np.any([path.is_dir() for path in results.iterdir()])


def test_rows_that_cannot_be_read_and_labels_that_are_none_are_counted(tmp_path: Path) -> None:
    export_dataset(load_dataset("sample"), Layout.CSV, tmp_path / "csv")
    path = tmp_path / "csv" / "fashion-mnist_train.csv"
    lines = path.read_text().splitlines()
    lines[3] = lines[3].replace(",", ",,", 1).rsplit(",", 1)[0]  # an empty cell
    lines[5] = "12" + lines[5][lines[5].index(",") :]
    lines[7] = lines[7].rsplit(",", 1)[0] + ",soft"
    path.write_text("\n".join(lines) + "\n")
    metrics = explore(
        data=str(tmp_path / "csv"), embedded=0, results=str(tmp_path), name="odd", quiet=True
    )
    assert metrics["missing_values"] == 1
    assert metrics["labels_out_of_range"] == 1
    assert metrics["not_whole_numbers"] == 1
    bad = pd.read_csv(tmp_path / "odd" / "bad_rows.csv")
    assert set(bad["line"]) == {4, 6, 8}
    assert set(bad["split"]) == {"train"}
    page = (tmp_path / "odd" / "report.html").read_text(encoding="utf-8")
    assert "1 missing values" in page
    assert "Rows that cannot be read" in page
