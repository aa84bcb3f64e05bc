"""What a person sees while a search runs: a live table, or plain lines when output is no terminal."""

import time
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from fmnist_ray.dispatch.progress import clock
from fmnist_ray.search.journal import TrialState

_RUNNING_SHOWN = 8
_LINE_EVERY_SECONDS = 30.0


class SearchProgress:
    """Shows trials by state, rungs, the best so far and the time left.

    Args:
        console: Where to show it; None shows nothing.
        trials: Trials in all.
        slots: Trials at a time.
        metric: What is compared.
        mode: `max` or `min`.
        searched: Keys that tell configurations apart.
    """

    def __init__(
        self,
        console: Console | None,
        trials: int,
        slots: int,
        metric: str,
        mode: str,
        searched: list[str],
    ) -> None:
        self._console = console
        self._trials, self._slots = trials, slots
        self._metric, self._mode, self._searched = metric, mode, searched
        self._states: dict[str, TrialState] = {}
        self._rungs: list[tuple[int, int]] = []
        self._begun = time.monotonic()
        self._done_before = 0.0
        self._last_line = 0.0
        self._live: Live | None = None

    def __enter__(self) -> "SearchProgress":
        if self._console is not None and self._console.is_terminal:
            self._live = Live(
                get_renderable=self._render, console=self._console, refresh_per_second=2
            )
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def say(self, text: str) -> None:
        """Prints a line above the table."""
        self._line(text)

    def begin(self, states: dict[str, TrialState], rungs: list[tuple[int, int]]) -> None:
        """Sets what is known before the first event of this session."""
        self._states, self._rungs = states, rungs
        self._begun = time.monotonic()
        self._done_before = self._trials_done()

    def epoch(self, state: TrialState, rungs: list[tuple[int, int]]) -> None:
        """A trial finished an epoch."""
        self._states[state.unit], self._rungs = state, rungs
        since = time.monotonic() - self._last_line
        if self._live is None and since > _LINE_EVERY_SECONDS:
            self._line(self._summary())

    def ended(self, state: TrialState) -> None:
        """A trial ended."""
        self._states[state.unit] = state
        if self._live is None:
            row = state.best(self._metric, self._mode)
            figure = f"{row[self._metric]:.4f}" if row else "no result"
            why = f" ({state.reason})" if state.reason else ""
            epoch = state.rows[-1]["epoch"] if state.rows else 0
            self._line(
                f"{state.unit} {state.status} after epoch {epoch}: {figure}{why}; {self._summary()}"
            )

    def _line(self, text: str) -> None:
        if self._console is not None:
            self._last_line = time.monotonic()
            self._console.print(f"[{clock(self._elapsed())}] {text}", markup=False)

    def _elapsed(self) -> float:
        return time.monotonic() - self._begun

    def _ended(self) -> list[TrialState]:
        return [state for state in self._states.values() if state.status != "running"]

    def _running(self) -> list[TrialState]:
        return [state for state in self._states.values() if state.status == "running"]

    def _best(self) -> tuple[TrialState, dict[str, Any]] | None:
        return best_trial(self._states, self._metric, self._mode)

    def _time_left(self) -> str:
        """From how many trials' worth of epochs this session did; unknown before the first."""
        done = self._trials_done()
        if done <= self._done_before:
            return "unknown"
        each = self._elapsed() / (done - self._done_before)
        return f"about {clock(each * (self._trials - done))}"

    def _trials_done(self) -> float:
        """Ended trials, and of the running ones the share of their epochs."""
        parts = [len(s.rows) / max(1, s.config.get("epochs", 1)) for s in self._running()]
        return float(len(self._ended()) + sum(parts))

    def _summary(self) -> str:
        best = self._best()
        text = f"best {best[1][self._metric]:.4f} ({best[0].unit})" if best else "no result yet"
        return (
            f"{text}; {len(self._ended())} of {self._trials} trials ended, "
            f"{len(self._running())} running, time left {self._time_left()}"
        )

    def _render(self) -> Group:
        ended = self._ended()
        by_status = {
            status: sum(state.status == status for state in ended)
            for status in ("complete", "stopped", "diverged", "failed")
        }
        waiting = max(0, self._trials - len(self._states))
        head = Text.assemble(
            (f"{len(ended)}/{self._trials} trials ended", "bold"),
            f"   complete {by_status['complete']}   stopped {by_status['stopped']}   ",
            f"diverged {by_status['diverged']}   " if by_status["diverged"] else "",
            (f"failed {by_status['failed']}", "red" if by_status["failed"] else ""),
            f"   running {len(self._running())}   waiting {waiting}",
        )
        times = f"elapsed {clock(self._elapsed())}   time left {self._time_left()}"
        parts: list[Any] = [head, Text(times)]
        if self._rungs:
            steps = "   ".join(f"epoch {epoch}: {count}" for epoch, count in self._rungs)
            parts.append(Text(f"rungs (trials that reached them)   {steps}"))
        parts.append(self._table())
        return Group(*parts)

    def _table(self) -> Table:
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
        for column in ("", "trial", "epoch", self._metric.replace("_", " "), "configuration"):
            table.add_column(column, no_wrap=column != "configuration")
        best = self._best()
        if best is not None:
            state, row = best
            table.add_row(
                "best",
                state.unit,
                str(row["epoch"]),
                f"{row[self._metric]:.4f}",
                describe_configuration(state.config, self._searched),
                style="green",
            )
        for state in self._running()[:_RUNNING_SHOWN]:
            last = state.rows[-1] if state.rows else None
            table.add_row(
                "running",
                state.unit,
                f"{len(state.rows)}/{state.config.get('epochs', '?')}",
                f"{last[self._metric]:.4f}" if last else "-",
                describe_configuration(state.config, self._searched),
            )
        return table


def best_trial(
    states: dict[str, TrialState], metric: str, mode: str
) -> tuple[TrialState, dict[str, Any]] | None:
    """The trial with the best figure in any epoch, and that epoch's row; None before any.

    Of equally good ones, the one that was so first.
    """
    sign = 1 if mode == "max" else -1
    rows = [(state, state.best(metric, mode)) for state in states.values()]
    known = [(state, row) for state, row in rows if row is not None and "diverged" not in row]

    def merit(pair: tuple[TrialState, dict[str, Any]]) -> tuple[float, float]:
        state, row = pair
        return sign * row[metric], -state.times[state.rows.index(row)]

    return max(known, key=merit, default=None)


def is_used(key: str, config: dict[str, Any]) -> bool:
    """Whether a value of a configuration has any effect there."""
    return key != "momentum" or config.get("optimizer") in ("sgd", "rmsprop")


def describe_configuration(config: dict[str, Any], searched: list[str]) -> str:
    """The searched values in one line, such as `adam, learning_rate 0.0021, batch_size 128`."""
    parts = []
    for key in searched:
        if not is_used(key, config):
            continue
        value = config.get(key)
        if isinstance(value, bool):
            parts.append(key if value else f"no {key}")
        elif isinstance(value, str):
            parts.append(value)
        else:
            text = f"{value:.3g}" if isinstance(value, float) else str(value)
            parts.append(f"{key.replace('_', ' ')} {text}")
    return ", ".join(parts)
