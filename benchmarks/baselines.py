"""The classical models on the full data: accuracy, seconds and memory of each way to fit them.

    python -m benchmarks.baselines [--all] [--threads 1]

Each way is fitted on all 60,000 images in a process of its own and scored on the test images; its
memory is that process's highest resident set. `--all` adds the ways that were not chosen, one of
which takes long. Fetch the data first.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from benchmarks.tables import show_table

SVM = {"C": 10, "gamma": 0.02}
CHOSEN: dict[str, dict[str, Any]] = {
    "svm": SVM,
    "random_forest": {"bootstrap": False, "min_samples_leaf": 1},
    "logistic_regression": {"C": 0.1},
}
BARS = {"svm": 0.897, "random_forest": 0.878}


def _libsvm(threads: int) -> Any:
    from sklearn.svm import SVC

    return SVC(cache_size=1000, **SVM)


def _libsvm_on_components(threads: int) -> Any:
    from sklearn.decomposition import PCA
    from sklearn.pipeline import make_pipeline

    return make_pipeline(PCA(100, svd_solver="covariance_eigh"), _libsvm(threads))


def _nystroem(threads: int) -> Any:
    from sklearn.kernel_approximation import Nystroem
    from sklearn.linear_model import RidgeClassifier
    from sklearn.pipeline import make_pipeline

    kernel = Nystroem(gamma=SVM["gamma"], n_components=4000, random_state=0)
    return make_pipeline(kernel, RidgeClassifier(alpha=0.1))


def _onedal_forest(threads: int) -> Any:
    from sklearnex.ensemble import RandomForestClassifier

    return RandomForestClassifier(200, random_state=0, n_jobs=threads, **CHOSEN["random_forest"])


OTHERS: dict[str, Callable[[int], Any]] = {
    "svm by libsvm": _libsvm,
    "svm by libsvm, 100 components": _libsvm_on_components,
    "4,000 Nystroem features, ridge": _nystroem,
    "random forest by oneDAL": _onedal_forest,
}


def _measure_here(way: str, threads: int) -> dict[str, Any]:
    import numpy as np
    from threadpoolctl import threadpool_limits

    from fmnist_ray.dataset.sources import load_dataset
    from fmnist_ray.models.classical import build, rows

    dataset = load_dataset()
    estimator = build(way, CHOSEN[way], 0, threads) if way in CHOSEN else OTHERS[way](threads)
    score = getattr(estimator, "predict_proba", None) or estimator.decision_function
    with threadpool_limits(threads):
        started = time.perf_counter()
        estimator.fit(rows(dataset.train.images), dataset.train.labels)
        fitted = time.perf_counter()
        scores = score(rows(dataset.test.images))
        ended = time.perf_counter()
    return {
        "accuracy": float(np.mean(scores.argmax(axis=1) == dataset.test.labels)),
        "fit_seconds": fitted - started,
        "predict_seconds": ended - fitted,
        "cpu_seconds": time.process_time(),
        "gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--way", help=argparse.SUPPRESS)  # what a process of its own is asked for
    asked = parser.parse_args()
    if asked.way:
        print(json.dumps(_measure_here(asked.way, asked.threads)))
        return
    columns = ("way", "test accuracy", "bar", "fit (s)", "predict (s)", "CPU (s)", "peak GiB")
    rows = []
    for way in [*CHOSEN, *(OTHERS if asked.all else ())]:
        command = [sys.executable, "-m", "benchmarks.baselines", "--way", way]
        command += ["--threads", str(asked.threads)]
        output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
        found = json.loads(output.splitlines()[-1])
        bar = f"{BARS[way]:.3f}" if way in BARS else ""
        seconds = (f"{found[key]:.1f}" for key in ("fit_seconds", "predict_seconds", "cpu_seconds"))
        rows.append([way, f"{found['accuracy']:.4f}", bar, *seconds, f"{found['gib']:.2f}"])
    show_table(columns, rows)


if __name__ == "__main__":
    main()
