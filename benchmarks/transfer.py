"""VGG16 frozen on the full data: seconds, memory and accuracy, by the commands a person types.

    python -m benchmarks.transfer --weights vgg16-hed.pth [--backbone vgg16] [--finetune]

`benchmarks/hed_weights.py` tells how to come by weights without ImageNet's; `--weights imagenet`
takes those. Features go into a cache of the benchmark's own, so that the first run makes them and
the second one finds them. `--finetune` also trains the last block, which takes an hour on two
cores. Fetch the data first.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.processes import measure
from benchmarks.tables import show_table
from fmnist_ray.dataset.cache import cache_folder
from fmnist_ray.records import read_json


def seconds_to_training(command: list[str], history: Path) -> float:
    """Runs a command, and tells how long it took to the end of the first epoch."""
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, *command], stdout=subprocess.DEVNULL)
    while not history.exists() and process.poll() is None:
        time.sleep(0.01)
    seconds = time.perf_counter() - started
    if process.wait():
        raise subprocess.CalledProcessError(process.returncode, command)
    return seconds


def ray_start_seconds() -> float:
    """How long Ray alone takes to start here, as every verb starts it."""
    code = (
        "import time; from fmnist_ray.dispatch.session import ray_session\n"
        "started = time.perf_counter()\n"
        "with ray_session('local'): print(time.perf_counter() - started)"
    )
    arguments = [sys.executable, "-c", code]
    found = subprocess.run(arguments, capture_output=True, text=True, check=True)
    return float(found.stdout.splitlines()[-1])


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--weights", default="imagenet")
    parser.add_argument("--backbone", default="vgg16")
    parser.add_argument("--finetune", action="store_true")
    parser.add_argument("--results", help="folder to keep the records in; default: none")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        results = Path(arguments.results or folder)
        shutil.copytree(cache_folder(), Path(folder) / "fmnist_ray" / "fashion-mnist")
        os.environ.setdefault("TORCH_HOME", str(Path("~/.cache/torch").expanduser()))
        os.environ["XDG_CACHE_HOME"] = folder
        show_table(("figure", "measured", "bar"), _rows(arguments, results))


def _rows(arguments: argparse.Namespace, results: Path) -> list[tuple[str, str, str]]:
    command = ["-m", "fmnist_ray.transfer", "--results", str(results), "--json"]
    command += ["--weights", arguments.weights, "--backbone", arguments.backbone]

    def run(*options: str) -> tuple[dict[str, Any], Any]:
        measured = measure([*command, *options])
        return json.loads(measured.output.splitlines()[-1]), measured

    rows: list[tuple[str, str, str]] = []
    found, measured = run("--name", "transfer-first")
    rows.append(("features of 70,000 images", f"{found['feature_seconds']:.0f} s", "120 s"))
    head = read_json(results / "transfer-first" / "units" / "trial-01" / "metrics.json")
    rows.append((f"head, {head['epochs']} epochs", f"{head['busy_seconds']:.1f} s", "10 s"))
    rows.append(("memory of driver and tasks", f"{measured.training_gib:.2f} GiB", "3 GiB"))
    rows.append(("memory of Ray's own processes", f"{measured.ray_gib:.2f} GiB", ""))
    rows.append(("first run in all", f"{measured.seconds:.0f} s", ""))
    for split, bar in (("train", ""), ("validation", ""), ("test", "0.820")):
        rows.append((f"{split} accuracy", f"{found[f'{split}_accuracy']:.4f}", bar))
    low, high = found["test_accuracy_low"], found["test_accuracy_high"]
    rows.append(("95 % interval", f"{low:.4f} to {high:.4f}", ""))
    for number in (1, 2, 3):
        rows.append(("Ray's own start, alone", f"{ray_start_seconds():.1f} s", ""))
        name = f"transfer-again-{number}"
        options = [*command, "--name", name, "--trials", "1"]
        seconds = seconds_to_training(options, results / name / "history.csv")
        rows.append(("features found: command to first epoch's end", f"{seconds:.1f} s", "5 s"))
    if arguments.finetune:
        tuned, measured = run("--name", "transfer-finetune", "--mode", "finetune")
        accuracy = tuned["test_accuracy"]
        rows.append(("last block fine-tuned, test accuracy", f"{accuracy:.4f}", ""))
        rows.append(("minutes", f"{measured.seconds / 60:.0f}", ""))
        rows.append(("memory of driver and task", f"{measured.training_gib:.2f} GiB", "3 GiB"))
    return rows


if __name__ == "__main__":
    main()
