"""What a person sees while a search runs: a live table, or plain lines when output is no terminal."""

import time
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from fmnist_ray.dispatch.progress import clock
from fmnist_ray.search.journal import UNFINISHED, TrialState
from fmnist_ray.search.standing import Standing

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
        self._now = Standing([], metric, mode)
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
        self._now = Standing(states.values(), self._metric, self._mode)
        self._rungs = rungs
        self._begun = time.monotonic()
        self._done_before = self._trials_done()

    def epoch(self, state: TrialState, rungs: list[tuple[int, int]]) -> None:
        """A trial finished an epoch."""
        self._now.see(state)
        self._rungs = rungs
        since = time.monotonic() - self._last_line
        if self._live is None and since > _LINE_EVERY_SECONDS:
            self._line(self._summary())

    def ended(self, state: TrialState) -> None:
        """A trial ended, or paused."""
        self._now.see(state)
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

    @property
    def _ended(self) -> int:
        return self._now.known - sum(self._now.counts[status] for status in UNFINISHED)

    def _time_left(self) -> str:
        """From how many trials' worth of epochs this session did; unknown before the first."""
        done = self._trials_done()
        if done <= self._done_before:
            return "unknown"
        each = self._elapsed() / (done - self._done_before)
        return f"about {clock(each * (self._trials - done))}"

    def _trials_done(self) -> float:
        """Ended and paused trials, of which few go on, and the share of epochs of running ones."""
        running = self._now.running.values()
        parts = [len(state.rows) / max(1, state.config.get("epochs", 1)) for state in running]
        return float(self._ended + self._now.counts["paused"] + sum(parts))

    def _summary(self) -> str:
        best, counts = self._now.best, self._now.counts
        paused = f"{counts['paused']} paused, " if counts["paused"] else ""
        text = f"best {best[1][self._metric]:.4f} ({best[0].unit})" if best else "no result yet"
        return (
            f"{text}; {self._ended} of {self._trials} trials ended, "
            f"{counts['running']} running, {paused}time left {self._time_left()}"
        )

    def _render(self) -> Group:
        counts = self._now.counts
        waiting = max(0, self._trials - self._now.known)
        head = Text.assemble(
            (f"{self._ended}/{self._trials} trials ended", "bold"),
            f"   complete {counts['complete']}   stopped {counts['stopped']}   ",
            f"diverged {counts['diverged']}   " if counts["diverged"] else "",
            (f"failed {counts['failed']}", "red" if counts["failed"] else ""),
            f"   running {counts['running']}   ",
            f"paused {counts['paused']}   " if counts["paused"] else "",
            f"waiting {waiting}",
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
        best = self._now.best
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
        for state in list(self._now.running.values())[:_RUNNING_SHOWN]:
            last = state.rows[-1] if state.rows else None
            table.add_row(
                "running",
                state.unit,
                f"{len(state.rows)}/{state.config.get('epochs', '?')}",
                f"{last[self._metric]:.4f}" if last else "-",
                describe_configuration(state.config, self._searched),
            )
        return table


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
