"""Accuracy of folds and ensembles on the full data, by the commands that a person would type.

    python -m benchmarks.folds_and_members [--members 10] [--config results/reference/tune-cnn]

Runs `cross_validate` on the CNN as it is by default, and `ensemble --kind both` on the CNN of
`--config`, with their records in `--results`, so that a second call goes on with them.
"""

import argparse
import json
import time

from benchmarks.processes import measure
from benchmarks.tables import show_table


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--members", default="10")
    parser.add_argument("--config", default="results/reference/tune-cnn")
    parser.add_argument("--results", default="results")
    arguments = parser.parse_args()
    shared = ["--results", arguments.results, "--json"]
    rows: list[tuple[str, str, str]] = []
    started = time.perf_counter()
    options = ["--folds", "5", "--model", "cnn", "--name", "benchmark-folds", *shared]
    folds = json.loads(
        measure(["-m", "fmnist_ray.cross_validate", *options]).output.splitlines()[-1]
    )
    mean, deviation = folds["validation_accuracy_mean"], folds["validation_accuracy_deviation"]
    rows.append(("5 folds, validation accuracy", f"{mean:.4f} ± {deviation:.4f}", "0.905"))
    rows.append(("average of the folds, test", f"{folds['test_accuracy']:.4f}", ""))
    rows.append(("minutes", f"{(time.perf_counter() - started) / 60:.1f}", ""))
    started = time.perf_counter()
    options = ["--config", arguments.config, "--kind", "both", "--members", arguments.members]
    options += ["--name", "benchmark-members", *shared]
    found = json.loads(measure(["-m", "fmnist_ray.ensemble", *options]).output.splitlines()[-1])
    for kind, gain_bar, bar in (("bootstrap", "+0.0080", ""), ("seeds", "", "0.925")):
        figures = {
            key: found[f"cnn_{kind}_{key}"]
            for key in ("member_accuracy_mean", "ensemble_accuracy", "gain")
        }
        rows.append((f"{kind}: mean member, test", f"{figures['member_accuracy_mean']:.4f}", ""))
        rows.append((f"{kind}: ensemble, test", f"{figures['ensemble_accuracy']:.4f}", bar))
        rows.append((f"{kind}: ensemble over mean", f"{figures['gain']:+.4f}", gain_bar))
    rows.append(("bootstrap: out of bag", f"{found['cnn_bootstrap_out_of_bag_accuracy']:.4f}", ""))
    rows.append(("minutes", f"{(time.perf_counter() - started) / 60:.1f}", ""))
    show_table(("figure", "measured", "bar"), rows)


if __name__ == "__main__":
    main()
