import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from fmnist_ray import ensemble as verb
from fmnist_ray.dataset.arrays import Dataset, Split
from fmnist_ray.dataset.sources import load_dataset
from fmnist_ray.dispatch.members import EnsembleOptions, member_units
from fmnist_ray.ensemble import ensemble
from fmnist_ray.errors import RequestError
from fmnist_ray.evaluate import evaluate
from fmnist_ray.evaluation.metrics import accuracy
from fmnist_ray.models.storage import load_model
from fmnist_ray.records import read_json
from fmnist_ray.training.predict import predict


def _options(**changed: Any) -> EnsembleOptions:
    fits = {model: {"model": model, "epochs": 1} for model in ("dnn", "cnn")}
    return EnsembleOptions.checked({"fits": fits, "members": 3, "kind": "both", **changed})


def test_bootstrap_members_draw_with_replacement_and_seeds_see_all() -> None:
    dataset = load_dataset("sample")
    units = {unit.name: unit for unit in member_units(_options(), dataset)}
    assert sorted(units) == sorted(
        f"{model}-{kind}-0{number}"
        for model in ("dnn", "cnn")
        for kind in ("member", "seed")
        for number in (1, 2, 3)
    )
    assert len({unit.seed for unit in units.values()}) == 12
    drawn = units["cnn-member-01"]
    assert len(drawn.train) == 2_000
    assert drawn.held_out is not None
    assert 0.60 < len(np.unique(drawn.train)) / 2_000 < 0.66  # 1 - 1/e
    assert not set(drawn.train) & set(drawn.held_out)
    assert len(set(drawn.train) | set(drawn.held_out)) == 2_000
    assert not np.array_equal(drawn.train, units["cnn-member-02"].train)
    assert not np.array_equal(drawn.train, units["dnn-member-01"].train)
    seeds = units["dnn-seed-03"]
    assert np.array_equal(seeds.train, np.arange(2_000))
    assert seeds.held_out is None
    assert next(iter(units)).startswith("cnn"), "what takes longest comes first"


def test_members_do_not_change_with_their_number_or_their_company() -> None:
    dataset = load_dataset("sample")
    few = {unit.name: unit for unit in member_units(_options(), dataset)}
    alone = _options(fits={"dnn": {"model": "dnn", "epochs": 1}}, members=5, kind="bootstrap")
    more = {unit.name: unit for unit in member_units(alone, dataset)}
    for number in (1, 2, 3):
        name = f"dnn-member-0{number}"
        assert few[name].seed == more[name].seed
        assert np.array_equal(few[name].train, more[name].train)


def test_a_copy_of_a_drawn_image_is_not_out_of_bag() -> None:
    split = load_dataset("sample").train
    doubled = Split(np.tile(split.images[:300], (2, 1, 1)), np.tile(split.labels[:300], 2))
    dataset = Dataset(doubled, doubled, "doubled")
    for unit in member_units(_options(kind="bootstrap"), dataset):
        assert unit.held_out is not None
        assert not set(unit.held_out % 300) & set(unit.train % 300)


@pytest.fixture(scope="module")
def trained(
    ray_cluster: None, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    results = tmp_path_factory.mktemp("results")
    metrics = ensemble(
        members=3,
        models="dnn,cnn",
        kind="both",
        set_=["epochs=2"],
        data="sample",
        train_size=800,
        name="both",
        results=str(results),
        quiet=True,
    )
    return results / "both", metrics


@pytest.mark.ray
def test_the_record_holds_every_group_and_its_figures(
    trained: tuple[Path, dict[str, Any]],
) -> None:
    record, metrics = trained
    assert metrics["units"] == 12
    with (record / "ensembles.csv").open() as stream:
        rows = {row["group"]: row for row in csv.DictReader(stream)}
    groups = [f"{m} {k}" for k in ("bootstrap", "seeds") for m in ("dnn", "cnn", "all")]
    assert list(rows) == groups
    labels = load_dataset("sample").test.labels
    stack = []
    for number in (1, 2, 3):
        unit = record / "units" / f"cnn-member-0{number}"
        with np.load(unit / "test_predictions.npz") as stored:
            stack.append(stored["probability"])
        assert read_json(unit / "metrics.json")["test_accuracy"] == accuracy(labels, stack[-1])
    expected = accuracy(labels, np.mean(stack, axis=0))
    assert metrics["cnn_bootstrap_ensemble_accuracy"] == expected
    assert float(rows["cnn bootstrap"]["ensemble_accuracy"]) == pytest.approx(expected)
    assert metrics["cnn_bootstrap_gain"] == pytest.approx(
        expected - np.mean([accuracy(labels, each) for each in stack])
    )
    assert metrics["cnn_seeds_out_of_bag_accuracy"] is None
    assert 0.3 < metrics["all_bootstrap_out_of_bag_accuracy"] < 1
    for figure in ("members", "ensemble_size", "disagreement"):
        assert (record / "figures" / f"{figure}.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.ray
def test_the_final_model_is_chosen_out_of_bag_and_scored_like_any_other(
    trained: tuple[Path, dict[str, Any]],
) -> None:
    record, metrics = trained
    by_bag = {m: metrics[f"{m}_bootstrap_out_of_bag_accuracy"] for m in ("dnn", "cnn", "all")}
    best = max(by_bag, key=lambda model: by_bag[model])
    assert metrics["final"] == f"{best} seeds"
    assert metrics["test_accuracy"] == metrics[f"{best}_seeds_ensemble_accuracy"]
    module, config = load_model(record)
    assert config.model.startswith("ensemble of")
    test = load_dataset("sample").test
    assert accuracy(test.labels, predict(module, test.images)) == metrics["test_accuracy"]
    scored = evaluate(str(record), data="sample", quiet=True)
    assert scored.test_accuracy == metrics["test_accuracy"]
    assert scored.model == config.model


@pytest.mark.ray
def test_a_second_call_keeps_what_is_complete(trained: tuple[Path, dict[str, Any]]) -> None:
    record, before = trained
    times = {path: path.stat().st_mtime_ns for path in record.glob("units/*/model.safetensors")}
    after = ensemble(name="both", results=str(record.parent), quiet=True)
    assert after == before
    assert {path: path.stat().st_mtime_ns for path in times} == times
    with pytest.raises(RequestError, match="--members 3, and now 4"):
        ensemble(name="both", members=4, results=str(record.parent), quiet=True)


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (["--members", "0"], "--members is 0"),
        (["--models", "dnn,transformer"], "no model 'transformer'"),
        (["--models", "dnn,dnn"], "names a model twice"),
        (["--kind", "boosting"], "--kind is 'boosting'"),
        (["--set", "model=cnn"], "--models"),
        (["--set", "epochs=0"], "`epochs` is 0"),
        (["--train-size", "5000"], "there are 2000"),
    ],
)
def test_a_wrong_request_is_refused(options: list[str], part: str, tmp_path: Path) -> None:
    small = ["--data", "sample", "--results", str(tmp_path / "results")]
    outcome = CliRunner().invoke(verb.app, [*small, *options])
    assert outcome.exit_code == 2, outcome.output
    assert part in outcome.output
    assert not (tmp_path / "results").exists()


def test_each_configuration_goes_to_the_model_it_names(tmp_path: Path) -> None:
    (tmp_path / "cnn.yaml").write_text("model: cnn\nactivation: tanh\n")
    (tmp_path / "none.yaml").write_text("activation: tanh\n")
    fits = verb._configurations(None, [str(tmp_path / "cnn.yaml")], ["epochs=3"])
    assert list(fits) == ["cnn"]
    assert fits["cnn"]["activation"] == "tanh"
    fits = verb._configurations("dnn,cnn", [str(tmp_path / "cnn.yaml")], ["epochs=3"])
    assert {model: fit["activation"] for model, fit in fits.items()} == {
        "dnn": "relu",
        "cnn": "tanh",
    }
    assert all(fit["epochs"] == 3 for fit in fits.values())
    with pytest.raises(RequestError, match="is of the model cnn, which --models dnn"):
        verb._configurations("dnn", [str(tmp_path / "cnn.yaml")], [])
    with pytest.raises(RequestError, match="both of the model cnn"):
        verb._configurations(None, [str(tmp_path / "cnn.yaml")] * 2, [])
    with pytest.raises(RequestError, match="names no model"):
        verb._configurations("cnn", [str(tmp_path / "none.yaml")], [])


def test_the_table_is_whole_on_a_narrow_terminal() -> None:
    row = {
        "group": "resnet bootstrap",
        "members": 100,
        "member_accuracy_mean": 0.9,
        "member_accuracy_deviation": 0.01,
        "ensemble_accuracy": 0.91,
        "vote_accuracy": 0.905,
        "gain": -0.01,
        "out_of_bag_accuracy": 0.912,
    }
    out = io.StringIO()
    Console(file=out, width=80).print(verb._table([row]))
    assert "…" not in out.getvalue()
    for figure in ("0.9000", "0.0100", "0.9100", "0.9050", "-0.0100", "0.9120"):
        assert figure in out.getvalue()
