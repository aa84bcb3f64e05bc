"""The journal of a search on one clock, which stands still while the search is interrupted."""

import bisect
import math
from collections.abc import Sequence
from typing import NamedTuple

from fmnist_ray.reports.search_courses import TrialCourse
from fmnist_ray.search.journal import UNFINISHED, Event, TrialState

# PBT trains trials by turns. A longer pause than this, and half an epoch, is not training.
_PAUSE_SECONDS = 1.0


class Session(NamedTuple):
    """A stretch of time in which the search ran.

    Attributes:
        begun: Seconds since 1970.
        ended: Likewise; of a session that was killed or still runs, its last event.
    """

    begun: float
    ended: float


def sessions(events: Sequence[Event]) -> list[Session]:
    """The sessions that a journal tells of, in order."""
    found: list[Session] = []
    begun: float | None = None
    last = 0.0
    for at, event in enumerate(events):
        kind, time = event["event"], float(event["time"])
        if kind == "session":
            if begun is not None:
                found.append(Session(begun, max(begun, last)))
            begun = last = time
        elif kind == "session_end" and begun is not None:
            found.append(Session(begun, max(begun, time)))
            begun = None
        elif kind == "end" and _written_on_resume(events, at):
            continue
        else:
            begun = time if begun is None and not found else begun
            last = time
    if begun is not None:
        found.append(Session(begun, max(begun, last)))
    return found


def _written_on_resume(events: Sequence[Event], at: int) -> bool:
    """Whether an end was written by the next session, for a trial that was killed at its end."""
    following = next((each["event"] for each in events[at + 1 :] if each["event"] != "end"), None)
    return following == "session"


class SearchClock:
    """Turns times of the journal into seconds that the search has run.

    Args:
        events: Of the journal.
    """

    def __init__(self, events: Sequence[Event]) -> None:
        self.sessions = sessions(events)
        self._before = [0.0]
        for each in self.sessions:
            self._before.append(self._before[-1] + each.ended - each.begun)

    @property
    def total(self) -> float:
        """Seconds that the search has run so far."""
        return self._before[-1]

    @property
    def starts(self) -> list[float]:
        """Where each session begins."""
        return self._before[:-1]

    def at(self, time: float) -> float:
        """Seconds that the search had run at a time since 1970."""
        number = bisect.bisect_right([each.begun for each in self.sessions], time) - 1
        if number < 0:
            return 0.0
        session = self.sessions[number]
        return self._before[number] + min(time, session.ended) - session.begun


def trial_courses(
    events: Sequence[Event], states: Sequence[TrialState], metric: str, by_turns: bool
) -> list[TrialCourse]:
    """Every trial's course, in the order they began.

    Args:
        events: Of the journal.
        states: The trials, as from `journal.trial_states`.
        metric: What is compared.
        by_turns: Whether trials wait for each other between epochs, as under PBT.
    """
    clock = SearchClock(events)
    times: dict[str, list[float]] = {state.unit: [] for state in states}
    for event in events:
        if event["event"] == "result":
            times[event["unit"]].append(float(event["time"]))
    spans = {} if by_turns else _spans(events, clock)
    courses = []
    for state in states:
        rows = [
            (row, clock.at(time))
            for row, time in zip(state.rows, times[state.unit], strict=True)
            if "diverged" not in row and _is_number(row.get(metric))
        ]
        seconds = tuple(float(row.get("seconds") or 0.0) for row, _ in rows)
        at = tuple(each for _, each in rows)
        courses.append(
            TrialCourse(
                state.unit,
                state.status,
                int(state.config.get("epochs", len(rows))),
                tuple(int(row["epoch"]) for row, _ in rows),
                tuple(float(row[metric]) for row, _ in rows),
                at,
                seconds,
                tuple(spans.get(state.unit, ())) if not by_turns else _turns(at, seconds),
                clock.at(state.ended) if state.ended and state.status not in UNFINISHED else None,
            )
        )
    return courses


def _spans(events: Sequence[Event], clock: SearchClock) -> dict[str, list[tuple[float, float]]]:
    """When each trial ran: from when it was handed out to its end, or to the session's."""
    spans: dict[str, list[tuple[float, float]]] = {}
    begun: dict[str, float] = {}

    def close(unit: str, end: float) -> None:
        begin = begun.pop(unit, None)
        if begin is not None:
            spans.setdefault(unit, []).append((begin, max(begin, end)))

    number = -1
    for event in events:
        kind = event["event"]
        if kind == "session":
            number += 1
            # What a killed session left open ended with it, where this one begins.
            for unit in list(begun):
                close(unit, clock.starts[number])
        elif kind == "session_end":
            for unit in list(begun):
                close(unit, clock.at(event["time"]))
        elif kind == "trial":
            begun.setdefault(event["unit"], clock.at(event["time"]))
        elif kind == "result":
            took = float(event["row"].get("seconds") or 0.0)
            begun.setdefault(event["unit"], max(0.0, clock.at(event["time"]) - took))
            if event["decision"] == "PAUSE":
                close(event["unit"], clock.at(event["time"]))
        elif kind == "end":
            close(event["unit"], clock.at(event["time"]))
    for unit in list(begun):
        close(unit, clock.total)
    return spans


def _turns(at: Sequence[float], seconds: Sequence[float]) -> tuple[tuple[float, float], ...]:
    """Epochs joined into spans where one follows another without a pause."""
    spans: list[tuple[float, float]] = []
    for end, took in zip(at, seconds, strict=True):
        begin = max(0.0, end - took)
        if spans and begin - spans[-1][1] <= max(_PAUSE_SECONDS, took / 2):
            spans[-1] = (spans[-1][0], end)
        else:
            spans.append((begin, end))
    return tuple(spans)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
