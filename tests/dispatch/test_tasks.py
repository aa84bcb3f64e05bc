import itertools
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from fmnist_ray.dispatch.run_name import RunName
from fmnist_ray.dispatch.tasks import DEATHS_PER_FAILURE, Task, Tell, run_tasks
from fmnist_ray.errors import DivergedError, WorkError

pytestmark = pytest.mark.ray


@pytest.fixture(autouse=True)
def _functions_travel_whole() -> None:
    """Ray's processes cannot import this file, so its functions are sent as they are."""
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])


def _square(number: int, tell: Tell) -> tuple[int, int]:
    tell(number)
    return number**2, os.getpid()


def test_each_task_is_called_once_and_processes_are_used_again(ray_cluster: None) -> None:
    told: list[tuple[str, int]] = []
    tasks = [Task(f"square-{number}", (number,)) for number in range(12)]
    outcomes = list(run_tasks(_square, tasks, 2, on_tell=lambda *event: told.append(event)))
    assert sorted(outcome.name for outcome in outcomes) == sorted(task.name for task in tasks)
    for outcome in outcomes:
        assert outcome.value[0] == int(outcome.name.removeprefix("square-")) ** 2
        assert outcome.failures == ()
    assert sorted(told) == sorted((f"square-{number}", number) for number in range(12))
    assert len({outcome.value[1] for outcome in outcomes}) <= 4


def _own_name(tell: Tell) -> str:
    import ray

    tell({"epoch": 1, "validation_accuracy": 0.5})  # as fits do, for the metrics
    return str(ray.get_runtime_context().get_task_name())


def test_tasks_carry_the_name_of_their_run_and_unit(ray_cluster: None) -> None:
    tasks = [Task(f"fold-{number}", ()) for number in (1, 2)]
    run = RunName("cross_validate", "autumn", "cnn")
    found = {each.name: each.value for each in run_tasks(_own_name, tasks, 2, run=run)}
    assert found == {unit: f"cross_validate/autumn/{unit}" for unit in ("fold-1", "fold-2")}
    (outcome,) = run_tasks(_own_name, tasks[:1], 1)
    assert outcome.value == "fold-1"


def _fail(folder: str, times: int, how: str, tell: Tell) -> str:
    """Fails so many times, counting in a file, and then does not."""
    with (Path(folder) / "calls").open("a") as stream:
        stream.write("x")
    if len((Path(folder) / "calls").read_text()) > times:
        return "done"
    if how == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    raise {"raises": ValueError, "works": WorkError, "diverges": DivergedError}[how]("so it was")


@pytest.mark.parametrize(
    ("how", "reason"),
    [("raises", "ValueError: so it was"), ("works", "so it was"), ("dies", "WorkerCrashedError")],
)
def test_a_task_that_fails_is_tried_again(
    how: str, reason: str, ray_cluster: None, tmp_path: Path
) -> None:
    retried: list[tuple[str, str]] = []
    task = Task("fails", (str(tmp_path), 2, how))
    (outcome,) = run_tasks(
        _fail, [task], 2, retries=2, on_retry=lambda *event: retried.append(event)
    )
    assert outcome.value == "done"
    assert not outcome.failed
    assert len(outcome.failures) == len(retried) == 2
    assert all(why.startswith(reason) for why in outcome.failures)


def _spoil(folder: str, tell: Tell) -> str:
    """Fails once and leaves its process as half an import does: no task can end well there."""
    first = not (Path(folder) / "spoilt").exists()
    if first:
        (Path(folder) / "spoilt").touch()
        sys.argv.append("--spoilt")
    if "--spoilt" in sys.argv:
        raise ImportError("half a module")
    return "done"


def test_a_task_that_raised_is_tried_again_in_another_process(
    ray_cluster: None, tmp_path: Path
) -> None:
    (outcome,) = run_tasks(_spoil, [Task("spoils", (str(tmp_path),))], 1, retries=1)
    assert outcome.value == "done"
    assert outcome.failures == ("ImportError: half a module",)


def test_a_task_that_fails_for_good_is_told_and_the_others_go_on(
    ray_cluster: None, tmp_path: Path
) -> None:
    folders = [tmp_path / name for name in "abc"]
    for folder in folders:
        folder.mkdir()
    tasks = [
        Task(folder.name, (str(folder), times, "raises"))
        for folder, times in zip(folders, (0, 9, 0), strict=True)
    ]
    outcomes = {each.name: each for each in run_tasks(_fail, tasks, 1, retries=1)}
    assert {name: each.failed for name, each in outcomes.items()} == {
        "a": False,
        "b": True,
        "c": False,
    }
    assert len(outcomes["b"].failures) == 2
    assert (tmp_path / "b" / "calls").read_text() == "xx"


def test_what_would_fail_again_is_not_tried(ray_cluster: None, tmp_path: Path) -> None:
    task = Task("diverges", (str(tmp_path), 9, "diverges"))
    (outcome,) = run_tasks(_fail, [task], 1, retries=5, hopeless=(DivergedError,))
    assert outcome.failed
    assert outcome.failures == ("so it was",)


def _climb(folder: str, steps: int, tell: Tell) -> int:
    """Dies after every step, and goes on with the next one when it is called again."""
    path = Path(folder) / "steps"
    done = len(path.read_text()) if path.exists() else 0
    for _ in range(done):
        tell("again")
    if done == steps:
        return done
    path.write_text("x" * (done + 1))
    tell("step")
    os.kill(os.getpid(), signal.SIGKILL)
    return done


def test_a_task_that_got_further_may_fail_again(ray_cluster: None, tmp_path: Path) -> None:
    (outcome,) = run_tasks(_climb, [Task("climbs", (str(tmp_path), 4))], 1, retries=1)
    assert outcome.value == 4
    assert len(outcome.failures) == 4


def test_telling_the_same_again_is_not_getting_further(ray_cluster: None) -> None:
    (outcome,) = run_tasks(_repeat, [Task("repeats", ())], 1, retries=1)
    assert outcome.failed
    assert len(outcome.failures) == 1 + DEATHS_PER_FAILURE


def _repeat(tell: Tell) -> None:
    tell("the same")
    os.kill(os.getpid(), signal.SIGKILL)


def _tell_slowly(tell: Tell) -> str:
    for number in range(20):
        tell(number)
        time.sleep(0.1)
    return "done"


def test_the_death_of_what_keeps_the_news_disturbs_no_task(ray_cluster: None) -> None:
    import psutil

    told: list[int] = []

    def on_tell(name: str, number: int) -> None:
        told.append(number)
        if number == 3:
            keepers = [
                each
                for each in psutil.Process().children(recursive=True)
                if " ".join(each.cmdline()).startswith("ray::Events")
            ]
            assert keepers
            for keeper in keepers:
                keeper.kill()

    (outcome,) = run_tasks(_tell_slowly, [Task("slow", ())], 1, retries=0, on_tell=on_tell)
    assert outcome.value == "done"
    assert outcome.failures == ()
    assert told == sorted(told)
    assert told[-1] == 19


def _overlap(seconds: float, tell: Tell) -> tuple[float, float]:
    started = time.time()
    time.sleep(seconds)
    return started, time.time()


def test_no_more_run_at_once_than_slots(ray_cluster: None) -> None:
    tasks = [Task(f"sleep-{number}", (0.1,)) for number in range(4)]
    spans = sorted(outcome.value for outcome in run_tasks(_overlap, tasks, 1))
    for (_, ended), (started, _) in itertools.pairwise(spans):
        assert started >= ended


def test_what_runs_is_cancelled_when_the_caller_leaves(ray_cluster: None) -> None:
    import psutil

    def titles() -> list[str]:
        return [" ".join(p.info["cmdline"] or []) for p in psutil.process_iter(["cmdline"])]

    tasks = [Task("short-one", (0.0,)), Task("endless-one", (600.0,))]
    generator: Any = run_tasks(_overlap, tasks, 2)
    assert next(generator).name == "short-one"
    assert any("ray::endless-one" in title for title in titles())
    generator.close()
    deadline = time.monotonic() + 20
    while any("ray::endless-one" in title for title in titles()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
