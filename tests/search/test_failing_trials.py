"""Trials whose process raises or diverges are marked with their reason; the others go on."""

from pathlib import Path
from typing import Any

import pytest

from fmnist_ray.errors import DivergedError, WorkError
from tests.search.scripted_sweep import sweep_over

pytestmark = pytest.mark.ray


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
    states = sweep_over(tmp_path / "run", _scripted(0.2, 0.3), [0.1, 0.2, 0.3, 0.4])
    by_rate = {state.config["learning_rate"]: state for state in states.values()}
    assert by_rate[0.1].status == by_rate[0.4].status == "complete"
    assert by_rate[0.2].status == "failed"
    assert "the disk is on fire" in by_rate[0.2].reason
    assert by_rate[0.3].status == "diverged"
    assert "nan in epoch 2" in by_rate[0.3].reason
    log = (tmp_path / "run" / "units" / by_rate[0.2].unit / "log.txt").read_text()
    assert "the disk is on fire" in log


def test_a_failed_trial_is_tried_again_on_resume(ray_cluster: None, tmp_path: Path) -> None:
    sweep_over(tmp_path / "run", _scripted(0.2, 0.3), [0.1, 0.2, 0.3])
    states = sweep_over(tmp_path / "run", _scripted(-1, -1), [0.1, 0.2, 0.3])
    by_rate = {state.config["learning_rate"]: state for state in states.values()}
    assert [by_rate[rate].status for rate in (0.1, 0.2, 0.3)] == ["complete"] * 2 + ["diverged"]
    assert [row["epoch"] for row in by_rate[0.2].rows] == [1, 2]


def test_a_search_in_which_every_trial_fails_says_why(ray_cluster: None, tmp_path: Path) -> None:
    with pytest.raises(WorkError, match="the disk is on fire"):
        sweep_over(tmp_path / "run", _scripted(0.2, 0.3), [0.2])


def _hanging(times: int, marks: Path) -> Any:
    """A fit that hangs in its second epoch, in the first so many tries, if its rate is 0.2."""
    path = str(marks)

    def fit(config: Any, data: Any, seed: int, resources: Any, on_epoch: Any, state: Any) -> None:
        import time
        from pathlib import Path

        import numpy as np

        from fmnist_ray.training.checkpoint import Checkpoint
        from fmnist_ray.training.contract import EpochEnd

        history = list(state.history) if state is not None else []
        while len(history) < 2:
            epoch = len(history) + 1
            with Path(path).open("a") as stream:
                stream.write(f"{config.learning_rate} {epoch}\n")
            tries = Path(path).read_text().count("0.2 2\n")
            if config.learning_rate == 0.2 and epoch == 2 and tries <= times:
                time.sleep(3600)
            history.append({"epoch": epoch, "validation_accuracy": 0.5, "seconds": 0.1})
            saved = Checkpoint(config.model_dump(), seed, list(history), {"w": np.ones(1)}, {})
            on_epoch(EpochEnd(history[-1], lambda saved=saved: saved))

    return fit


def test_a_trial_that_hangs_is_ended_and_marked_and_the_others_go_on(
    ray_cluster: None, tmp_path: Path
) -> None:
    fit = _hanging(1000, tmp_path / "epochs")
    states = sweep_over(tmp_path / "run", fit, [0.1, 0.2, 0.3, 0.4], trial_timeout=8)
    by_rate = {state.config["learning_rate"]: state for state in states.values()}
    assert {by_rate[rate].status for rate in (0.1, 0.3, 0.4)} == {"complete"}
    assert by_rate[0.2].status == "failed"
    assert "no epoch ended within 8 s (--trial-timeout)" in by_rate[0.2].reason
    assert len(by_rate[0.2].rows) == 1


def test_a_trial_that_hung_once_goes_on_from_its_last_epoch(
    ray_cluster: None, tmp_path: Path
) -> None:
    states = sweep_over(tmp_path / "run", _hanging(1, tmp_path / "epochs"), [0.2], trial_timeout=8)
    (state,) = states.values()
    assert state.status == "complete"
    assert [row["epoch"] for row in state.rows] == [1, 2]
    assert (tmp_path / "epochs").read_text().splitlines() == ["0.2 1", "0.2 2", "0.2 2"]


def _dying(marks: Path) -> Any:
    """A fit whose process is killed once at the beginning of every epoch but the first."""
    path = str(marks)

    def fit(config: Any, data: Any, seed: int, resources: Any, on_epoch: Any, state: Any) -> None:
        import os
        import signal
        from pathlib import Path

        import numpy as np

        from fmnist_ray.training.checkpoint import Checkpoint
        from fmnist_ray.training.contract import EpochEnd

        history = list(state.history) if state is not None else []
        while len(history) < config.epochs:
            epoch = len(history) + 1
            begun = Path(path).read_text().split() if Path(path).exists() else []
            with Path(path).open("a") as stream:
                stream.write(f"{epoch}\n")
            if epoch > 1 and str(epoch) not in begun:
                os.kill(os.getpid(), signal.SIGKILL)
            history.append({"epoch": epoch, "validation_accuracy": 0.5, "seconds": 0.1})
            saved = Checkpoint(config.model_dump(), seed, list(history), {"w": np.ones(1)}, {})
            on_epoch(EpochEnd(history[-1], lambda saved=saved: saved))

    return fit


def test_a_trial_that_gets_on_may_die_more_often_than_it_is_tried_again(
    ray_cluster: None, tmp_path: Path
) -> None:
    states = sweep_over(tmp_path / "run", _dying(tmp_path / "begun"), [0.1], max_epochs=6)
    (state,) = states.values()
    assert state.status == "complete", state.reason
    assert [row["epoch"] for row in state.rows] == [1, 2, 3, 4, 5, 6]
    begun = (tmp_path / "begun").read_text().split()
    assert begun == ["1", *(str(epoch) for epoch in range(2, 7) for _ in range(2))]


def _slow_to_end() -> Any:
    """A fit that takes longer to end than Tune waits for it before its actor's next trial."""

    def fit(config: Any, data: Any, seed: int, resources: Any, on_epoch: Any, state: Any) -> None:
        import os
        import time

        import numpy as np

        from fmnist_ray.training.checkpoint import Checkpoint
        from fmnist_ray.training.contract import EpochEnd

        os.environ["TUNE_FUNCTION_THREAD_TIMEOUT_S"] = "0"
        row = {"epoch": 1, "validation_accuracy": 0.5, "seconds": 0.1}
        saved = Checkpoint(config.model_dump(), seed, [row], {"w": np.ones(1)}, {})
        try:
            on_epoch(EpochEnd(row, lambda: saved))
        finally:
            time.sleep(1)

    return fit


def _dying_when_used_again(times: int, marks: Path) -> Any:
    """A fit whose process dies, in the first so many, when it is made ready for another trial."""
    path = str(marks)

    def fit(config: Any, data: Any, seed: int, resources: Any, on_epoch: Any, state: Any) -> None:
        import os
        from pathlib import Path

        import numpy as np
        from ray.train._internal.session import _TrainSession

        from fmnist_ray.training.checkpoint import Checkpoint
        from fmnist_ray.training.contract import EpochEnd

        reset = _TrainSession.reset  # Tune's actor calls it when it is used again

        def dying(session: Any, *arguments: Any, **options: Any) -> Any:
            with Path(path).open("a") as stream:
                stream.write("reset\n")
            if Path(path).read_text().count("reset") <= times:
                os._exit(1)
            return reset(session, *arguments, **options)

        if reset.__name__ != dying.__name__:
            _TrainSession.reset = dying
        history = [{"epoch": 1, "validation_accuracy": 0.5, "seconds": 0.1}]
        saved = Checkpoint(config.model_dump(), seed, list(history), {"w": np.ones(1)}, {})
        on_epoch(EpochEnd(history[-1], lambda: saved))

    return fit


def test_a_process_that_dies_when_it_is_used_again_costs_no_trial(
    ray_cluster: None, tmp_path: Path
) -> None:
    fit = _dying_when_used_again(2, tmp_path / "resets")
    states = sweep_over(tmp_path / "run", fit, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    assert (tmp_path / "resets").read_text().count("reset") > 2
    assert {state.status for state in states.values()} == {"complete"}, states


def test_trials_that_tune_gives_up_are_begun_again(ray_cluster: None, tmp_path: Path) -> None:
    rates = [0.1, 0.2, 0.3, 0.4, 0.5]
    states = sweep_over(tmp_path / "run", _slow_to_end(), rates, max_epochs=1)
    assert [state.status for state in states.values()] == ["complete"] * 5
    sessions = (tmp_path / "run" / "journal.jsonl").read_text().count('"event":"session",')
    assert sessions > 1, "Tune gave none up: what this test is about did not happen"
