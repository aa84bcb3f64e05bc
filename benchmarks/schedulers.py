"""Which search finds the better network for the same number of epochs: both forms of ASHA, TPE, random.

    python -m benchmarks.schedulers [--seeds 10] [--csv FILE]
    python -m benchmarks.schedulers --real [--seeds 10] [--train-size 6000]

Two slots, the space of `search_spaces/cnn.yaml`, 12 epochs at most. Without `--real` the training is
played (`benchmarks.simulation`): an epoch gives what a script says, with the traits that the curves
of the default search have: learning rates that are too high or too low, one-cycle schedules that
look bad until their end, small differences at the top, noise. With `--real` networks are trained, on
a part of the data, by `python -m fmnist_ray.tune`.

Every contender begins as many trials as it likes and is cut off at the same number of epochs. The
table has the best validation accuracy by then, mean and deviation over the seeds, and of the played
searches also what the chosen configuration is really worth, which noise hides from the search.
Contenders are compared with the first by Wilcoxon's signed-rank test over the seeds.
"""

import argparse
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml
from rich.console import Console
from rich.progress import track

from benchmarks.simulation import play
from benchmarks.tables import show_table, write_rows
from fmnist_ray.search.journal import JOURNAL_FILE, Event, read_events
from fmnist_ray.search.settings import SearchSettings
from fmnist_ray.search.space import load_space

SPACE = "search_spaces/cnn.yaml"
SLOTS, REDUCTION = 2, 3
ENDED_BY_SIGTERM = 143
CONTENDERS = {
    "ASHA by promotion, random": ("asha-promotion", "random"),
    "ASHA by stopping, random": ("asha", "random"),
    "ASHA by promotion, TPE": ("asha-promotion", "optuna"),
    "ASHA by stopping, TPE": ("asha", "optuna"),
    "no scheduler, random": ("none", "random"),
    "no scheduler, TPE": ("none", "optuna"),
}

# Of the played training. A learning rate's power of ten at which each optimizer is best, and what
# each activation costs.
_BEST_RATE = {"adam": -2.35, "adamw": -2.3, "nadam": -2.6, "rmsprop": -3.1, "sgd": -1.6}
_ACTIVATION = {"relu": 0.0, "tanh": 0.006, "elu": 0.003, "silu": 0.001}
_NOISE = 0.003


class Found(NamedTuple):
    """What a search had by a number of epochs.

    Attributes:
        validation: The best validation accuracy that it saw.
        worth: Of the trial with it, the played accuracy at its last epoch without noise; NaN of
            real training.
    """

    validation: float
    worth: float


def true_accuracy(config: dict[str, Any], epoch: int, misleading: bool) -> float:
    """The played validation accuracy of a configuration after an epoch, without noise."""
    batch, epochs = config["batch_size"], config["epochs"]
    steps = math.log2(batch / 128)
    off = math.log10(config["learning_rate"]) - _BEST_RATE[config["optimizer"]] - 0.12 * steps
    if off > 0.75:
        return 0.1 + 0.3 * math.exp(-3 * off)
    last = 0.921 - 0.03 * off**2 - _ACTIVATION[config["activation"]]
    last -= 0.02 * abs(config["dropout"] - 0.1) + 0.002 * max(0.0, steps) + 0.003 * (epochs < 12)
    patience = 1.2 * 10 ** (-0.5 * off) * (batch / 128) ** 0.4
    done = epoch / epochs
    one_cycle = misleading and config["schedule"] == "one_cycle"
    hump = 4 * 0.03 * done * (1 - done) if one_cycle else 0.0
    late = 0.05 if one_cycle else 0.015
    return max(0.1, last - 0.25 * math.exp(-epoch / patience) - hump - late * (1 - done))


def played(seed: int, misleading: bool) -> Any:
    """The script of a search: accuracy and seconds of an epoch."""

    def script(config: dict[str, Any], epoch: int) -> tuple[float, float]:
        drawn = np.random.default_rng([seed, int(1e9 * config["learning_rate"]), epoch])
        seconds = 8 * (
            1 + 0.2 * (config["activation"] == "silu") + 0.5 * (128 / config["batch_size"])
        )
        return true_accuracy(config, epoch, misleading) + float(drawn.normal(0, _NOISE)), seconds

    return script


def space_of(max_epochs: int, known_good: bool) -> dict[str, Any]:
    """The search space of all contenders."""
    space = load_space(SPACE).as_dict()
    # A good first trial is worth more than any scheduler, and would hide what they do.
    if not known_good:
        del space["known_good"]
    space["search"]["epochs"] = {"choice": [max_epochs * 2 // 3, max_epochs]}
    return space


def settings_of(
    scheduler: str, searcher: str, seed: int, trials: int, max_epochs: int, known_good: bool
) -> SearchSettings:
    """A contender's search."""
    return SearchSettings(
        space=space_of(max_epochs, known_good),
        space_source=SPACE,
        scheduler=scheduler,  # type: ignore[arg-type]
        searcher=searcher,  # type: ignore[arg-type]
        max_epochs=max_epochs,
        reduction_factor=REDUCTION,
        trials=trials,
        seed=seed,
    )


def play_one(
    scheduler: str,
    searcher: str,
    seed: int,
    folder: Path,
    max_epochs: int,
    budget: int,
    misleading: bool,
    known_good: bool,
) -> list[Event]:
    """The events of a played search, up to a number of epochs."""
    path = folder / f"{scheduler}-{searcher}-{seed}.jsonl"
    settings = settings_of(scheduler, searcher, seed, budget, max_epochs, known_good)
    search = play(settings, SLOTS, played(seed, misleading), path)
    for number, _ in enumerate(search, 1):
        if number == budget:
            break
    search.close()
    return list(read_events(path))


def train_one(
    scheduler: str,
    searcher: str,
    seed: int,
    folder: Path,
    train_size: int,
    max_epochs: int,
    budget: int,
    known_good: bool,
) -> list[Event]:
    """The events of a real search, which is ended once it has trained the epochs of the budget."""
    name = f"{scheduler}-{searcher}-{seed}"
    space = folder / f"{name}.yaml"
    space.write_text(yaml.safe_dump(space_of(max_epochs, known_good)))
    # Every trial trains an epoch at least: that many are more than the budget can have need of.
    command = f"-m fmnist_ray.tune --space {space} --max-epochs {max_epochs} --name {name}".split()
    command += f"--scheduler {scheduler} --searcher {searcher} --seed {seed}".split()
    command += f"--trials {budget} --train-size {train_size} --retrain-seeds 0".split()
    command += ["--no-tensorboard", "--quiet", "--results", str(folder)]
    with tempfile.TemporaryFile("w+") as words:
        process = subprocess.Popen([sys.executable, *command], stdout=words, stderr=words)
        while process.poll() is None:
            time.sleep(0.5)
            events = list(read_events(folder / name / JOURNAL_FILE))
            if sum(event["event"] == "result" for event in events) >= budget:
                process.terminate()
                process.wait()
        if process.returncode not in (0, ENDED_BY_SIGTERM):
            words.seek(0)
            raise SystemExit(f"{name} ended with {process.returncode}: {words.read()[-3000:]}")
    return list(read_events(folder / name / JOURNAL_FILE))


def found_by(events: Sequence[Event], budgets: Sequence[int], misleading: bool) -> Iterator[Found]:
    """What a search had after each number of epochs, which ascend."""
    configs: dict[str, dict[str, Any]] = {}
    best, unit, epochs = -math.inf, "", 0
    wanted = list(budgets)
    for event in events:
        if event["event"] == "trial":
            configs[event["unit"]] = event["config"]
        if event["event"] != "result":
            continue
        epochs += 1
        if event["row"]["validation_accuracy"] > best:
            best, unit = event["row"]["validation_accuracy"], event["unit"]
        if epochs == wanted[0]:
            wanted.pop(0)
            yield Found(best, true_accuracy(configs[unit], configs[unit]["epochs"], misleading))
            if not wanted:
                return
    raise RuntimeError(f"the search ended after {epochs} epochs, before {wanted[0]}")


def p_value(first: Sequence[float], second: Sequence[float]) -> float:
    """Two-sided, of Wilcoxon's signed-rank test over paired seeds."""
    from scipy.stats import wilcoxon

    differences = np.subtract(first, second)
    return 1.0 if not differences.any() else float(wilcoxon(differences).pvalue)


def rows_of(found: dict[str, list[list[float]]], budgets: Sequence[int]) -> list[list[str]]:
    """A row per contender: at each budget its mean, deviation and p-value against the first."""
    reference, rows = next(iter(found)), []
    for name, seeds in found.items():
        row = [name]
        for at in range(len(budgets)):
            values = [seed[at] for seed in seeds]
            text = f"{100 * statistics.mean(values):.2f} ± {100 * statistics.stdev(values):.2f}"
            if name != reference:
                text += f"  p {p_value([seed[at] for seed in found[reference]], values):.3f}"
            row.append(text)
        rows.append(row)
    return rows


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--real", action="store_true", help="train networks instead of playing")
    parser.add_argument("--train-size", type=int, default=6000, help="images of real training")
    parser.add_argument("--max-epochs", type=int, default=12)
    parser.add_argument("--misleading", action="store_true", help="one-cycle looks bad at first")
    parser.add_argument(
        "--known-good", action="store_true", help="begin with the space's own point"
    )
    parser.add_argument("--csv", type=Path, help="also write the rows there")
    arguments = parser.parse_args()
    contenders = dict(list(CONTENDERS.items())[:2]) if arguments.real else CONTENDERS
    budgets = [
        arguments.max_epochs * times for times in ((5, 10) if arguments.real else (5, 10, 20, 40))
    ]
    validation: dict[str, list[list[float]]] = {name: [] for name in contenders}
    worth: dict[str, list[list[float]]] = {name: [] for name in contenders}
    # The journals are synced to disk event by event: in memory, if it can be had.
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as name:
        folder = Path(name)
        for seed in track(range(arguments.seeds), "seeds", console=Console(stderr=True)):
            for contender, (scheduler, searcher) in contenders.items():
                where = (scheduler, searcher, seed, folder)
                until = (arguments.max_epochs, max(budgets))
                if arguments.real:
                    events = train_one(*where, arguments.train_size, *until, arguments.known_good)
                else:
                    events = play_one(*where, *until, arguments.misleading, arguments.known_good)
                found = list(found_by(events, budgets, arguments.misleading))
                validation[contender].append([each.validation for each in found])
                worth[contender].append([each.worth for each in found])
    titles = {"best validation accuracy, %": validation}
    if not arguments.real:
        titles["true accuracy of the chosen configuration, %"] = worth
    columns, lines = ["search", *(f"{budget} epochs" for budget in budgets)], []
    for title, figures in titles.items():
        rows = rows_of(figures, budgets)
        show_table(columns, rows, title)
        lines += [[title, *row] for row in rows]
    write_rows(arguments.csv, ["figure", *columns], lines)


if __name__ == "__main__":
    main()
