"""The search's journal: every event in order, on disk before anyone acts on it.

The journal is what makes a search survive: trials, results and the scheduler's decisions are
appended as lines of JSON, and a resumed search feeds them through a new scheduler and searcher,
which then stand exactly where the old ones stood. A line cut short by a crash is dropped.

Events (each has `event` and `time`, seconds since 1970):
    session: `number` - a search was started or resumed.
    trial: `unit`, `config` - a trial was chosen, or its configuration changed by PBT.
    result: `unit`, `row`, `decision` - an epoch ended, and what the scheduler decided. A trial that
        it paused begins again with a further `trial` event.
    end: `unit`, `status` (`complete`, `stopped`, `diverged`, `failed`), `reason`.
    session_end: `seconds` - the sweep stopped running after this long.
"""

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fmnist_ray.errors import DiskError

JOURNAL_FILE = "journal.jsonl"

UNFINISHED = frozenset({"running", "paused"})
"""Statuses of trials that may still go on."""

Event = dict[str, Any]


class Journal:
    """An append-only file of events.

    Attributes:
        states: What they say of every trial, by unit, in the order they began.

    Args:
        path: The file; made when missing. A torn last line is cut off.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.states: dict[str, TrialState] = {}
        self._size = 0
        for event, size in _whole_lines(path):
            _apply(self.states, event)
            self._size += size
        self._fresh: list[Event] = []
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as stream:
            stream.truncate(self._size)

    @property
    def events(self) -> list[Event]:
        """All of them, read from the file: a search of many trials would not keep them as well."""
        return list(read_events(self.path))

    def take(self) -> list[Event]:
        """The events that were appended since the last call."""
        fresh, self._fresh = self._fresh, []
        return fresh

    def append(self, event: str, **fields: Any) -> None:
        """Adds an event; it is on disk when this returns.

        Raises:
            DiskError: It could not be written, and is not in the journal.
        """
        entry: Event = {"event": event, "time": round(time.time(), 3), **fields}
        line = _line(entry)
        try:
            with self.path.open("r+b") as stream:
                # Not at the end, where a line may stand of which there was no room for all.
                stream.seek(self._size)
                stream.write(line)
                stream.truncate()
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            raise DiskError.about(self.path, error) from error
        self._size += len(line)
        self._fresh.append(entry)
        _apply(self.states, entry)


def end_what_is_decided(journal: Journal) -> "list[TrialState]":
    """Ends trials that were killed between their last epoch and the event that ends them.

    Returns:
        Those trials.
    """
    ended = []
    for state in journal.states.values():
        if state.status in UNFINISHED and state.outcome is not None:
            status, reason = state.outcome
            journal.append("end", unit=state.unit, status=status, reason=reason)
            ended.append(state)
    return ended


def read_events(path: Path) -> Iterator[Event]:
    """The whole events of a journal file, in order; none if there is no file."""
    return (event for event, _ in _whole_lines(path))


def _whole_lines(path: Path) -> Iterator[tuple[Event, int]]:
    """Events up to the first torn line, each with the bytes of its line."""
    if not path.exists():
        return
    with path.open("rb") as stream:
        for line in stream:
            try:
                event = json.loads(line)
            except ValueError:
                return
            if not line.endswith(b"\n"):
                return
            yield event, len(line)


@dataclass
class TrialState:
    """What the journal says of one trial.

    Attributes:
        unit: Its name.
        config: Its configuration.
        rows: A row per finished epoch.
        decisions: The scheduler's answer to each row.
        times: When each row was written, seconds since 1970.
        status: `running`, or `paused` by the scheduler, until it ends as `complete`, `stopped`, `diverged`
            or `failed`.
        reason: Why it failed.
        started: Seconds since 1970.
        ended: Seconds since 1970, or None. Of a trial that was paused for good, when it paused.
    """

    unit: str
    config: dict[str, Any]
    started: float
    rows: list[dict[str, Any]] = field(default_factory=list)
    decisions: list[str] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    status: str = "running"
    reason: str = ""
    ended: float | None = None

    def apply(self, event: Event) -> None:
        """Takes in an event of this trial."""
        match event["event"]:
            case "trial":
                self.config, self.status = event["config"], "running"
            case "result":
                self.rows.append(event["row"])
                self.decisions.append(event["decision"])
                self.times.append(event["time"])
                self.status = "paused" if event["decision"] == "PAUSE" else "running"
            case "end":
                self.ended = self.times[-1] if self.status == "paused" else event["time"]
                self.status, self.reason = event["status"], event.get("reason", "")

    @property
    def outcome(self) -> tuple[str, str] | None:
        """How the trial must end after its last epoch, and why; None if it goes on."""
        if not self.rows:
            return None
        last = self.rows[-1]
        if "diverged" in last:
            return "diverged", last["diverged"]
        if last["epoch"] >= self.config["epochs"]:
            return "complete", ""
        return ("stopped", "") if self.decisions[-1] == "STOP" else None

    def best(self, metric: str, mode: str) -> dict[str, Any] | None:
        """The row with the best figure, the earliest among equals; None before the first epoch."""
        sign = 1 if mode == "max" else -1
        rows = [row for row in self.rows if row.get(metric) is not None]
        return max(rows, key=lambda row: sign * row[metric], default=None)


def trial_states(events: list[Event]) -> dict[str, TrialState]:
    """Every trial that the events tell of, by unit, in the order they began."""
    states: dict[str, TrialState] = {}
    for event in events:
        _apply(states, event)
    return states


def _apply(states: dict[str, TrialState], event: Event) -> None:
    unit = event.get("unit")
    if unit is None:
        return
    if unit not in states:
        states[unit] = TrialState(unit, event.get("config", {}), event["time"])
    states[unit].apply(event)


def _line(event: Event) -> bytes:
    return (json.dumps(event, separators=(",", ":")) + "\n").encode()
