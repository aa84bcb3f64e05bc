"""A search over learning curves that are known beforehand, to be killed and resumed by tests.

    python tests/search/scripted_search.py RECORD SLOTS SCHEDULER ADDRESS

Begins the search in RECORD, or goes on with it, on the Ray cluster at ADDRESS or one of its own
(`local`). Every epoch that is trained is written down in RECORD/trained.txt, so that a test can see
whether one was trained twice.
"""

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from fmnist_ray.dispatch.session import ray_session
from fmnist_ray.records import Record
from fmnist_ray.search.journal import JOURNAL_FILE, Journal
from fmnist_ray.search.progress import SearchProgress
from fmnist_ray.search.settings import SearchSettings
from fmnist_ray.search.space import parse_space
from fmnist_ray.search.sweep import Sweep, run_sweep
from fmnist_ray.training.ray_train import Resources

TRIALS, EPOCHS, EPOCH_SECONDS = 14, 9, 0.05
SPACE = {"model": "dnn", "search": {"learning_rate": {"uniform": [0.001, 0.1]}}}


def scripted_fit(
    config: Any, data: Any, seed: int, resources: Any, on_epoch: Any, checkpoint: Any
) -> None:
    """Takes the place of `train_here`: accuracy grows with epochs and the learning rate."""
    import numpy as np

    from fmnist_ray.training.checkpoint import Checkpoint
    from fmnist_ray.training.contract import EpochEnd

    history = list(checkpoint.history) if checkpoint is not None else []
    while len(history) < config.epochs:
        time.sleep(EPOCH_SECONDS)
        epoch = len(history) + 1
        with Path(data["trained"]).open("a") as stream:
            stream.write(f"{config.learning_rate} {epoch}\n")
        accuracy = 0.3 + 5 * config.learning_rate + 0.01 * epoch
        history.append({"epoch": epoch, "validation_accuracy": accuracy, "seconds": EPOCH_SECONDS})
        state = Checkpoint(config.model_dump(), seed, list(history), {"w": np.ones(1)}, {})
        on_epoch(EpochEnd(history[-1], lambda state=state: state))


def main(folder: Path, slots: int, scheduler: str, address: str) -> None:
    """Begins or goes on with the scripted search."""
    folder.mkdir(exist_ok=True)
    settings = SearchSettings(
        space=SPACE,
        space_source="scripted",
        trials=TRIALS,
        max_epochs=EPOCHS,
        scheduler=scheduler,
        cpus_per_trial=0.5,
        tensorboard=False,
    )
    space = parse_space(SPACE, "scripted").with_epochs_up_to(EPOCHS)
    console = Console(stderr=True, quiet=True)
    sweep = Sweep(
        record=Record(folder),
        journal=Journal(folder / JOURNAL_FILE),
        settings=settings,
        space=space,
        resources=Resources(cpus=0.5),
        slots=slots,
        progress=SearchProgress(console, TRIALS, slots, settings.metric, "max", list(space.search)),
        fit=scripted_fit,
    )
    with ray_session(address):
        run_sweep(sweep, {"trained": str(folder / "trained.txt"), "filler": np.zeros(1)})


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4])
