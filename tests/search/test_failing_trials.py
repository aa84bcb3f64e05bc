"""Trials whose process raises or diverges are marked with their reason; the others go on."""

from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from fmnist_ray.errors import DivergedError, WorkError
from fmnist_ray.records import Record
from fmnist_ray.search.journal import Journal, TrialState
from fmnist_ray.search.progress import SearchProgress
from fmnist_ray.search.settings import SearchSettings
from fmnist_ray.search.space import parse_space
from fmnist_ray.search.sweep import Sweep, run_sweep
from fmnist_ray.training.ray_train import Resources

pytestmark = pytest.mark.ray


def _sweep(folder: Path, fit: Any, rates: list[float]) -> dict[str, TrialState]:
    space = {"model": "dnn", "search": {"learning_rate": {"choice": rates}}}
    settings = SearchSettings(
        space=space,
        space_source="s",
        trials=len(rates),
        searcher="grid",
        max_epochs=2,
        tensorboard=False,
    )
    folder.mkdir(exist_ok=True)
    console = Console(quiet=True)
    sweep = Sweep(
        record=Record(folder),
        journal=Journal(folder / "journal.jsonl"),
        settings=settings,
        space=parse_space(space, "s").with_epochs_up_to(2),
        resources=Resources(cpus=0.5),
        slots=2,
        progress=SearchProgress(console, len(rates), 2, "validation_accuracy", "max", []),
        fit=fit,
    )
    return run_sweep(sweep, {})


def _scripted(*outcomes: float) -> Any:
    """A fit that raises, diverges or learns, by its learning rate; pickled by value."""
    raising, diverging = outcomes

    def fit(config: Any, data: Any, seed: int, resources: Any, on_epoch: Any, state: Any) -> None:
        import numpy as np

        from fmnist_ray.training.checkpoint import Checkpoint
        from fmnist_ray.training.contract import EpochEnd

        if config.learning_rate == raising:
            raise RuntimeError("the disk is on fire")
        history: list[dict[str, Any]] = []
        for epoch in (1, 2):
            if config.learning_rate == diverging and epoch == 2:
                raise DivergedError("the training loss became nan in epoch 2")
            history.append({"epoch": epoch, "validation_accuracy": 0.5, "seconds": 0.1})
            saved = Checkpoint(config.model_dump(), seed, list(history), {"w": np.ones(1)}, {})
            on_epoch(EpochEnd(history[-1], lambda saved=saved: saved))

    return fit


def test_a_trial_that_raises_or_diverges_is_marked_and_the_others_go_on(
    ray_cluster: None, tmp_path: Path
) -> None:
    states = _sweep(tmp_path / "run", _scripted(0.2, 0.3), [0.1, 0.2, 0.3, 0.4])
    by_rate = {state.config["learning_rate"]: state for state in states.values()}
    assert by_rate[0.1].status == by_rate[0.4].status == "complete"
    assert by_rate[0.2].status == "failed"
    assert "the disk is on fire" in by_rate[0.2].reason
    assert by_rate[0.3].status == "diverged"
    assert "nan in epoch 2" in by_rate[0.3].reason
    log = (tmp_path / "run" / "units" / by_rate[0.2].unit / "log.txt").read_text()
    assert "the disk is on fire" in log


def test_a_failed_trial_is_tried_again_on_resume(ray_cluster: None, tmp_path: Path) -> None:
    _sweep(tmp_path / "run", _scripted(0.2, 0.3), [0.1, 0.2, 0.3])
    states = _sweep(tmp_path / "run", _scripted(-1, -1), [0.1, 0.2, 0.3])
    by_rate = {state.config["learning_rate"]: state for state in states.values()}
    assert [by_rate[rate].status for rate in (0.1, 0.2, 0.3)] == ["complete"] * 2 + ["diverged"]
    assert [row["epoch"] for row in by_rate[0.2].rows] == [1, 2]


def test_a_search_in_which_every_trial_fails_says_why(ray_cluster: None, tmp_path: Path) -> None:
    with pytest.raises(WorkError, match="the disk is on fire"):
        _sweep(tmp_path / "run", _scripted(0.2, 0.3), [0.2])
