import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from fmnist_ray.dispatch.at_work import at_work
from fmnist_ray.errors import Interrupted, RequestError, WorkError
from fmnist_ray.records import Record
from tests.conftest import ROOT

QUIET = Console(quiet=True)


@pytest.fixture
def record(tmp_path: Path) -> Record:
    made = Record.create(tmp_path, "run", "train", "cnn")
    made.start("train", {}, 0, {})
    return made


def test_work_that_ends_is_complete(record: Record) -> None:
    with at_work(record, "go on", QUIET, config={"epochs": 3}):
        assert record.run()["status"] == "running"
        assert record.run()["config"] == {"epochs": 3}
    assert record.run()["status"] == "complete"
    assert record.run()["ended"] is not None


def test_ctrl_c_is_an_interruption_that_says_how_to_go_on(record: Record) -> None:
    with (
        pytest.raises(Interrupted, match="fmnist go --on") as stop,
        at_work(record, "fmnist go --on", QUIET),
    ):
        raise KeyboardInterrupt
    assert stop.value.exit_code == 130
    assert record.run()["status"] == "interrupted"


def test_an_error_is_a_failure(record: Record, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ZeroDivisionError), at_work(record, "fmnist go --on", Console(stderr=True)):
        raise ZeroDivisionError
    assert record.run()["status"] == "failed"
    assert "fmnist go --on" in capsys.readouterr().err


def test_an_error_is_told_even_if_the_record_cannot_be_written(
    record: Record, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        (record.path / "run.json").unlink()
        (record.path / "run.json").mkdir()  # not even root can write a file in a folder's place
        raise WorkError("the first one")

    with pytest.raises(WorkError, match="the first one"), at_work(record, "", QUIET):
        fail()
    assert "could not be noted" in caplog.text


def test_a_second_process_is_refused(record: Record) -> None:
    program = (
        "import sys; from pathlib import Path; from rich.console import Console\n"
        "from fmnist_ray.dispatch.at_work import at_work; from fmnist_ray.records import Record\n"
        "with at_work(Record(Path(sys.argv[1])), '', Console(quiet=True)):\n"
        "    print('in', flush=True); sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(record.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "in\n"
        with (
            pytest.raises(RequestError, match=f"process {other.pid} on"),
            at_work(record, "", QUIET),
        ):
            raise AssertionError("two processes are at work on one record")
        other.kill()  # SIGKILL: the system gives the lock back
        other.wait()
        with at_work(record, "", QUIET):
            pass
    assert record.run()["status"] == "complete"
