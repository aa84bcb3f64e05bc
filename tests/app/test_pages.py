"""The pages from real records: rows, views, live parts, comparisons, and what they refuse."""

import shutil
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from fmnist_ray.app.experiments import Experiments
from fmnist_ray.app.pages import build_pages
from fmnist_ray.records import Record, write_json
from fmnist_ray.search.journal import Journal
from tests.conftest import ROOT

REFERENCE = ROOT / "results" / "reference"
SEARCH = "reference/tune-cnn"


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder with the reference records, one below the other."""
    folder = tmp_path_factory.mktemp("results")
    shutil.copytree(REFERENCE, folder / "reference")
    return folder


@pytest.fixture(scope="module")
def pages(results: Path) -> TestClient:
    return TestClient(build_pages(results), raise_server_exceptions=False)


def begun_search(folder: Path, status: str = "running") -> Record:
    """A search as it stands after a few epochs, its journal written by the real journal."""
    record = Record(folder)
    folder.mkdir(parents=True)
    space = {"model": "cnn", "search": {"learning_rate": {"loguniform": [0.001, 0.1]}}}
    config = {"space": space, "space_source": "s", "trials": 5, "max_epochs": 9}
    record.start("tune", config, 0, {"source": "sample"})
    journal = Journal(folder / "journal.jsonl")
    for number in range(3):
        unit = f"trial-{number:03d}"
        journal.append("trial", unit=unit, config={"learning_rate": 0.01, "epochs": 9})
        row = {"epoch": 1, "validation_accuracy": 0.7 + number / 100, "train_loss": 0.5}
        journal.append("result", unit=unit, row=row, decision="CONTINUE" if number else "STOP")
    journal.append("end", unit="trial-000", status="stopped", reason="")
    if status != "running":
        record.end(status)
    return record


def test_every_record_has_a_row_with_what_it_says(results: Path) -> None:
    rows = {row.name: row for row in Experiments(results).rows()}
    assert set(rows) == {f"reference/{path.parent.name}" for path in REFERENCE.glob("*/run.json")}
    search = rows[SEARCH]
    assert (search.verb, search.model, search.status) == ("tune", "cnn", "complete")
    assert search.test_accuracy == pytest.approx(0.9176, abs=0.01)
    assert search.seconds is not None
    assert rows["reference/cross-validate-cnn"].validation_accuracy == pytest.approx(0.9, abs=0.05)
    started = [row.started for row in Experiments(results).rows()]
    assert started == sorted(started, reverse=True)


def test_a_search_that_runs_tells_how_far_it_is(tmp_path: Path) -> None:
    begun_search(tmp_path / "night")
    experiments = Experiments(tmp_path)
    (row,) = experiments.rows()
    assert (row.status, row.progress) == ("running", "1 of 5 trials")
    assert row.validation_accuracy == pytest.approx(0.72)
    state = experiments.view("night").state
    assert state.counts == {"running": 2, "stopped": 1, "waiting": 2}
    assert [unit.name for unit in state.units] == ["trial-002", "trial-001", "trial-000"]
    assert [(rung.epoch, rung.trials) for rung in state.rungs] == [(1, 3), (3, 0)]
    assert state.curves["trial-001"]["validation_accuracy"] == [0.71]


def test_a_row_changes_with_its_record(tmp_path: Path) -> None:
    record = begun_search(tmp_path / "night")
    experiments = Experiments(tmp_path)
    assert experiments.rows()[0].progress == "1 of 5 trials"
    Journal(record.path / "journal.jsonl").append(
        "end", unit="trial-001", status="stopped", reason=""
    )
    assert experiments.rows()[0].progress == "2 of 5 trials"
    record.write_metrics({"test_accuracy": 0.9})
    record.end("complete")
    assert experiments.rows()[0].status == "complete"
    assert experiments.rows()[0].test_accuracy == 0.9


@pytest.mark.parametrize("name", ["techniques", "baselines", "explore", "ensemble-cnn", "tune-cnn"])
def test_every_kind_of_record_has_a_page(pages: TestClient, name: str) -> None:
    page = pages.get(f"/experiments/reference/{name}")
    assert page.status_code == 200
    assert "problem" not in page.text.replace("class=problem", "")
    for figure in sorted((REFERENCE / name / "figures").glob("*.png")):
        link = f"/experiments/reference/{name}/figures/{figure.name}"
        assert link in page.text
        assert pages.get(link).content == figure.read_bytes()


def test_a_page_that_did_not_change_is_not_sent_again(pages: TestClient) -> None:
    first = pages.get("/experiments")
    again = pages.get("/experiments", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_damaged_records_are_named_and_harm_no_other(tmp_path: Path) -> None:
    begun_search(tmp_path / "whole")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "run.json").write_text("{")
    begun_search(tmp_path / "odd", "failed")
    (tmp_path / "odd" / "metrics.json").write_text("[]")
    (tmp_path / "odd" / "confusion_matrix.csv").write_text("a,b\n1")
    pages = TestClient(build_pages(tmp_path), raise_server_exceptions=False)
    listed = pages.get("/experiments")
    assert listed.status_code == 200
    assert "damaged" in listed.text
    assert pages.get("/experiments/whole").status_code == 200
    assert pages.get("/experiments/broken").status_code == 404
    odd = pages.get("/experiments/odd")
    assert odd.status_code == 200
    assert "metrics.json must hold a JSON object" in odd.text
    assert "is not square" in odd.text


@pytest.mark.parametrize(
    "path",
    [
        "/experiments/nothing",
        "/experiments/..%2f..%2fetc",
        "/experiments/reference/../../x",
        "/experiments/reference/tune-cnn/figures/..%2frun.json",
        "/experiments/reference/tune-cnn/figures/run.json",
        "/experiments/reference/tune-cnn/report",
        "/experiments/a/b/c/d",
        "/experiments/" + "x" * 300,
        "/nowhere",
        "/static/../pages.py",
    ],
)
def test_what_is_not_there_is_answered_with_a_page_that_says_so(
    pages: TestClient, path: str
) -> None:
    answer = pages.get(path)
    assert answer.status_code == 404
    assert "Traceback" not in answer.text


def test_a_report_may_neither_read_the_service_nor_send_anything(
    pages: TestClient, results: Path
) -> None:
    report = results / "reference" / "explore" / "report.html"
    report.write_text("<p>hello</p>")
    answer = pages.get("/experiments/reference/explore/report")
    assert answer.text == "<p>hello</p>"
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("sandbox allow-scripts")
    assert "allow-same-origin" not in policy
    assert "default-src 'none'" in policy
    report.unlink()


def test_names_in_records_are_text_and_no_html(tmp_path: Path) -> None:
    record = begun_search(tmp_path / "odd")
    write_json(record.path / "run.json", {**record.run(), "verb": "<script>alert(1)</script>"})
    pages = TestClient(build_pages(tmp_path))
    for path in ("/experiments", "/experiments/odd"):
        assert "<script>alert" not in pages.get(path).text


def test_records_are_compared_and_what_cannot_be_tested_is_named(tmp_path: Path) -> None:
    for name, rate in (("one", 0.01), ("other", 0.02)):
        record = begun_search(tmp_path / name)
        run = record.run()
        run["config"]["trials"] = int(rate * 1000)
        write_json(record.path / "run.json", run)
    pages = TestClient(build_pages(tmp_path))
    page = pages.get("/compare?record=one&record=other").text
    assert "2 experiments compared" in page
    assert "one is not tested: it keeps no predictions" in page
    assert "<td>10</td><td>20</td>" in page
    assert pages.get("/compare?record=one").status_code == 422
    assert pages.get("/compare?record=one&record=one").status_code == 422
    assert pages.get("/compare?record=one&record=nothing").status_code == 404


def test_test_images_to_pick_are_the_data_sets(pages: TestClient) -> None:
    found = pages.get("/test-images?label=8&count=10&seed=3").json()
    assert len(found) == 10
    assert {each["class"] for each in found} == {"Bag"}
    assert found == pages.get("/test-images?label=8&count=10&seed=3").json()
    assert found != pages.get("/test-images?label=8&count=10&seed=4").json()
    assert pages.get("/test-images?label=11").status_code == 422


def test_an_empty_folder_shows_how_to_begin(tmp_path: Path) -> None:
    page = TestClient(build_pages(tmp_path / "none")).get("/experiments")
    assert "fmnist tune --data sample" in page.text
