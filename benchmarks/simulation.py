"""A search without Ray and without training: our scheduler and searcher on a clock that jumps.

What decides in a search is run as it is: the sampler, the scheduler, the journal. Only Tune's part,
to run what the searcher hands out, and the training itself are played: an epoch takes the seconds
and gives the figures that a script says.
"""

import heapq
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from fmnist_ray.dispatch.room import Room
from fmnist_ray.search.journal import Journal, end_what_is_decided
from fmnist_ray.search.samplers import build_sampler
from fmnist_ray.search.schedulers import build_scheduler
from fmnist_ray.search.searcher import UnitSearcher
from fmnist_ray.search.settings import SearchSettings
from fmnist_ray.search.space import parse_space

Script = Callable[[dict[str, Any], int], tuple[float, float]]
"""Gives the validation accuracy and the seconds of a configuration's epoch."""


class Epoch(NamedTuple):
    """An epoch that was played.

    Attributes:
        time: Seconds from the search's begin.
        unit: The trial.
        epoch: Of the trial, from 1.
        accuracy: On validation images.
    """

    time: float
    unit: str
    epoch: int
    accuracy: float


@dataclass(frozen=True)
class PlayedTrial:
    """What our scheduler wants to know of Tune's trials."""

    trial_id: str
    config: dict[str, Any]

    @property
    def custom_trial_name(self) -> str:
        return str(self.config["unit"])


def play(
    settings: SearchSettings, slots: int, script: Script, journal: Path
) -> Generator[Epoch, None, None]:
    """Runs a search, or goes on with it, epoch by epoch.

    Args:
        settings: Of the search; `none`, `median` and both forms of ASHA can be played.
        slots: Trials at a time.
        script: What the epochs give.
        journal: The search's journal file; what it tells of is not played again.
    """
    space = parse_space(settings.space, settings.space_source)
    space = space.with_epochs_up_to(settings.max_epochs)
    book = Journal(journal)
    end_what_is_decided(book)
    scheduler = build_scheduler(settings, space, book)
    sampler = build_sampler(settings.searcher, space, settings.seed, settings.mode)
    searcher = UnitSearcher(settings, space, sampler, book, scheduler, Room(slots))
    running: list[tuple[float, int, PlayedTrial, int]] = []
    now, handed_out = 0.0, 0

    def begin(trial: PlayedTrial, epoch: int) -> None:
        seconds = script(trial.config, epoch)[1]
        heapq.heappush(running, (now + seconds, int(trial.trial_id), trial, epoch))

    while True:
        while isinstance(config := searcher.suggest(str(handed_out)), dict):
            trial = PlayedTrial(str(handed_out), config)
            scheduler.on_trial_add(None, trial)
            begin(trial, config["reported"] + 1)
            handed_out += 1
        if not running:
            return
        now, _, trial, epoch = heapq.heappop(running)
        row = {"epoch": epoch, "validation_accuracy": script(trial.config, epoch)[0]}
        decision = scheduler.on_trial_result(None, trial, row)
        yield Epoch(now, trial.custom_trial_name, epoch, row["validation_accuracy"])
        if decision == "CONTINUE" and epoch < trial.config["epochs"]:
            begin(trial, epoch + 1)
            continue
        if decision == "CONTINUE":
            book.append("end", unit=trial.custom_trial_name, status="complete")
        elif book.states[trial.custom_trial_name].status == "running":
            book.append("end", unit=trial.custom_trial_name, status="stopped")
        scheduler.on_trial_complete(None, trial, row)
        searcher.on_trial_complete(trial.trial_id, row)
