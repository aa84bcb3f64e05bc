from pathlib import Path

import pytest

from fmnist_ray.errors import WorkError
from fmnist_ray.search.journal import Journal, read_events, trial_states


def _filled(path: Path) -> Journal:
    journal = Journal(path)
    journal.append("session", number=0)
    journal.append("trial", unit="trial-000", config={"epochs": 3})
    journal.append("trial", unit="trial-001", config={"epochs": 3})
    for epoch, accuracy in ((1, 0.5), (2, 0.8), (3, 0.7)):
        row = {"epoch": epoch, "validation_accuracy": accuracy, "validation_loss": 1 - accuracy}
        journal.append("result", unit="trial-000", row=row, decision="CONTINUE")
    journal.append("end", unit="trial-000", status="complete", reason="")
    return journal


def test_states_are_what_the_events_tell(tmp_path: Path) -> None:
    states = trial_states(_filled(tmp_path / "journal.jsonl").events)
    assert list(states) == ["trial-000", "trial-001"]
    done = states["trial-000"]
    assert (done.status, len(done.rows), done.decisions[-1]) == ("complete", 3, "CONTINUE")
    assert done.best("validation_accuracy", "max") == done.rows[1]
    assert done.best("validation_loss", "min") == done.rows[1]
    assert states["trial-001"].status == "running"
    assert states["trial-001"].best("validation_accuracy", "max") is None


def test_a_cut_at_any_byte_loses_at_most_the_last_event(tmp_path: Path) -> None:
    whole = _filled(tmp_path / "whole.jsonl")
    content = whole.path.read_bytes()
    torn = tmp_path / "torn.jsonl"
    for length in range(len(content) + 1):
        torn.write_bytes(content[:length])
        kept = content[:length].count(b"\n")
        assert list(read_events(torn)) == whole.events[:kept]
        journal = Journal(torn)
        journal.append("session", number=1)
        again = Journal(torn).events
        assert again[:-1] == whole.events[:kept]
        assert again[-1]["event"] == "session"


def test_a_journal_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    journal = _filled(tmp_path / "folder" / "journal.jsonl")
    journal.take()
    journal.path.unlink()
    journal.path.mkdir()
    with pytest.raises(WorkError, match="cannot be written"):
        journal.append("trial", unit="trial-009", config={})
    assert journal.take() == []
    assert "trial-009" not in journal.states
