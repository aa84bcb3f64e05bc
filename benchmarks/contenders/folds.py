"""Folds without a framework for them: joblib, a fresh process for each, or one after another.

    python -m benchmarks.contenders.folds WAY FOLDS EPOCHS IMAGES

All train by this package's engine, so that what differs is how the folds are run. Prints the
validation accuracy of each fold and the seconds that it trained.
"""

import subprocess
import sys

import numpy as np

Fold = tuple[float, float]


def fit_fold(fold: int, folds: int, epochs: int, images: int, threads: int) -> Fold:
    """Reads the data and trains one fold's model.

    Returns:
        Its validation accuracy, and the seconds of its epochs.
    """
    from fmnist_ray.dataset.folds import stratified_folds
    from fmnist_ray.dataset.sources import load_dataset
    from fmnist_ray.training.config import FitConfig
    from fmnist_ray.training.contract import Device, FitData
    from fmnist_ray.training.fit import fit

    split = load_dataset().train
    parts = stratified_folds(split, np.arange(images), folds, seed=0)
    train = np.concatenate([part for number, part in enumerate(parts) if number != fold])
    data = FitData(split.images, split.labels, np.sort(train), parts[fold])
    config = FitConfig(model="cnn", epochs=epochs)
    result = fit(config, data, seed=fold, device=Device(threads=threads))
    seconds = sum(float(row["seconds"]) for row in result.history)
    return float(result.history[-1]["validation_accuracy"]), seconds


def by_joblib(folds: int, epochs: int, images: int) -> list[Fold]:
    """As scikit-learn's `cross_val_score(n_jobs=2)`: two workers that are used again."""
    from joblib import Parallel, delayed

    jobs = (delayed(fit_fold)(fold, folds, epochs, images, 1) for fold in range(folds))
    return list(Parallel(n_jobs=2)(jobs))


def by_fresh_processes(folds: int, epochs: int, images: int) -> list[Fold]:
    """As AutoGluon's parallel folding: a new process for each fold, two at a time."""
    running: list[tuple[int, subprocess.Popen[str]]] = []
    found: dict[int, Fold] = {}
    for fold in range(folds):
        if len(running) == 2:
            first, process = running.pop(0)
            found[first] = _read(process)
        code = f"from {__spec__.name} import fit_fold; "
        code += f"print(*fit_fold({fold}, {folds}, {epochs}, {images}, 1))"
        command = [sys.executable, "-c", code]
        running.append((fold, subprocess.Popen(command, stdout=subprocess.PIPE, text=True)))
    for fold, process in running:
        found[fold] = _read(process)
    return [found[fold] for fold in range(folds)]


def _read(process: subprocess.Popen[str]) -> Fold:
    accuracy, seconds = map(float, process.communicate()[0].split())
    return accuracy, seconds


def in_sequence(folds: int, epochs: int, images: int) -> list[Fold]:
    """A loop, each fit on both threads."""
    return [fit_fold(fold, folds, epochs, images, 2) for fold in range(folds)]


WAYS = {"joblib": by_joblib, "processes": by_fresh_processes, "sequence": in_sequence}


if __name__ == "__main__":
    way, *numbers = sys.argv[1:]
    for accuracy, seconds in WAYS[way](*map(int, numbers)):
        print(accuracy, seconds)
