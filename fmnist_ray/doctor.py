"""Tells what this machine offers and what would stop the verbs: `python -m fmnist_ray.doctor`."""

import importlib
import math
import os
import platform
import shutil
import tempfile
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fmnist_ray import __version__
from fmnist_ray.console import (
    AddressOption,
    DataOption,
    JsonOption,
    QuietOption,
    ResultsOption,
    command,
    verb_app,
)
from fmnist_ray.errors import RequestError
from fmnist_ray.machine import processor_name, usable_cpus, usable_memory

if TYPE_CHECKING:
    from fmnist_ray.dispatch.plan import Node

_GIB = 2**30
# Imported as a test: torch and torchvision of two builds install without complaint, and fail.
_IMPORTED = ("ray", "torch", "torchvision")
_SHOWN = (*_IMPORTED, "tensorflow", "numpy", "scikit-learn", "optuna")
# Ray keeps the images (55 MB) there once for all processes, and weights and predictions besides;
# Docker gives a container 64 MB unless it is told otherwise.
_LEAST_SHARED_MEMORY = _GIB
_LEAST_FREE_SPACE = _GIB
# A process that trains takes about 1 GiB, and Ray's own processes together as much again.
_LEAST_MEMORY = 3 * _GIB


@dataclass
class Checkup:
    """What was found.

    Attributes:
        facts: Flat names and values, in the order in which they are shown.
        warnings: What slows or limits the verbs, each with its remedy.
        problems: What stops verbs, each with its remedy.
    """

    facts: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def doctor(
    data: DataOption = None,
    results: ResultsOption = "results",
    address: AddressOption = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> dict[str, Any]:
    """Shows versions, hardware, data and folders, and what would stop the other verbs.

    Nothing is downloaded or changed. The exit code is 1 if something would stop them, else 0.

    Returns:
        The facts under flat names, then `warnings` and `problems`, each a list of sentences.
    """
    checkup = Checkup()
    check_packages(checkup)
    check_machine(checkup)
    check_devices(checkup)
    check_data(checkup, data)
    check_results(checkup, results)
    check_plan(checkup, check_cluster(checkup, address, results))
    return {**checkup.facts, "warnings": checkup.warnings, "problems": checkup.problems}


def check_packages(checkup: Checkup) -> None:
    """Looks whether what the package requires is installed, in a version it was tested with."""
    from packaging.requirements import Requirement

    checkup.facts |= {"fmnist_ray": __version__, "python": platform.python_version()}
    try:
        lines = requires("fmnist_ray") or []
    except PackageNotFoundError:
        checkup.warnings.append(
            "fmnist_ray is not installed, so its packages cannot be checked. Run: make install"
        )
        lines = []
    installed = {name: _version(name) for name in _SHOWN}
    for requirement in map(Requirement, lines):
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        found = installed.setdefault(requirement.name, _version(requirement.name))
        if found is None or not requirement.specifier.contains(found, prereleases=True):
            checkup.problems.append(
                f"{requirement.name} {found or 'is not installed'}, but {requirement.specifier} "
                "is needed. Install it with: make install"
            )
    for name in _SHOWN:
        checkup.facts[name.replace("-", "_")] = installed[name] or "not installed"
    for name in _IMPORTED:
        if installed[name] is None:
            continue
        try:
            importlib.import_module(name)
        except (ImportError, OSError, RuntimeError) as error:
            checkup.problems.append(
                f"{name} {installed[name]} cannot be imported: {error}. Make the environment "
                "anew with: make clean install"
            )


def check_machine(checkup: Checkup) -> None:
    """Looks at processor, memory and shared memory."""
    cpus, memory = usable_cpus(), usable_memory()
    checkup.facts["processor"] = processor_name()
    checkup.facts["cpus"] = int(cpus) if cpus.is_integer() else cpus
    checkup.facts["memory_gib"] = None if memory is None else round(memory / _GIB, 1)
    if memory is not None and memory < _LEAST_MEMORY:
        checkup.warnings.append(
            f"This machine offers {memory / _GIB:.1f} GiB of memory; below "
            f"{_LEAST_MEMORY / _GIB:g} GiB Ray may end processes that train. Run one at a time."
        )
    shared = Path("/dev/shm")
    if shared.is_dir():
        _check_room(
            checkup,
            "shared_memory_gib",
            shutil.disk_usage(shared).total,
            _LEAST_SHARED_MEMORY,
            f"{shared} holds only {{}} MiB, so that Ray keeps its objects on disk, which is slow. "
            "Start a container with --shm-size=2g.",
        )


def check_devices(checkup: Checkup) -> None:
    """Looks for GPUs and bf16 arithmetic, and what `--precision auto` takes."""
    try:
        import torch

        from fmnist_ray.training.precision import resolve_precision
    except (ImportError, OSError, RuntimeError):
        return  # `check_packages` has said so
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    checkup.facts["gpus"] = gpus
    checkup.facts["bf16_on_cpu"] = resolve_precision("auto", "cpu") == "bf16"
    checkup.facts["precision"] = resolve_precision("auto", "cuda" if gpus else "cpu")
    if not gpus and Path("/proc/driver/nvidia/version").exists():
        checkup.warnings.append(
            f"This machine has an NVIDIA driver, but torch {torch.__version__} sees no GPU. "
            "Install the CUDA build of torch and torchvision, or look at CUDA_VISIBLE_DEVICES."
        )


def check_data(checkup: Checkup, data: str | None) -> None:
    """Reads and verifies the data that a verb would use, but downloads nothing."""
    from fmnist_ray.dataset.arrays import fingerprint
    from fmnist_ray.dataset.cache import cache_folder, read_cache
    from fmnist_ray.dataset.idx import ReleaseCheck, read_idx_folder
    from fmnist_ray.dataset.release import release_fingerprint
    from fmnist_ray.dataset.sources import SYSTEM_FOLDER, load_dataset, named_data

    data = named_data(data)
    try:
        if data is not None:
            dataset = load_dataset(data)
        elif cache_folder().is_dir():
            dataset = read_cache()
        elif SYSTEM_FOLDER.is_dir():
            dataset = read_idx_folder(SYSTEM_FOLDER, ReleaseCheck.ALWAYS)
        else:
            checkup.facts["data"] = "not on this machine yet"
            checkup.warnings.append(
                "Fashion-MNIST is not on this machine; the first verb that needs it fetches it "
                "(31 MB). Without a network use --data DIR or --data sample. To fetch it now: "
                "python -m fmnist_ray.data fetch"
            )
            return
    except RequestError as error:
        checkup.facts["data"] = "cannot be used"
        # A verb that finds its own copy damaged fetches another; a named folder it cannot mend.
        (checkup.warnings if data is None else checkup.problems).append(str(error))
        return
    checkup.facts["data"] = dataset.source
    checkup.facts["train_images"] = len(dataset.train)
    checkup.facts["test_images"] = len(dataset.test)
    release, found = release_fingerprint(), fingerprint(dataset)
    checkup.facts["data_is_the_release"] = release.items() <= found.items()


def check_results(checkup: Checkup, results: str | Path) -> None:
    """Looks whether records can be written, without making the folder."""
    folder, nearest = Path(results).absolute(), _nearest(results)
    checkup.facts["results"] = str(folder)
    try:
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        checkup.problems.append(
            f"Records cannot be written below {folder}: {nearest}: {error.strerror or error}. "
            "Name another folder with --results DIR."
        )
        return
    _check_room(
        checkup,
        "results_free_gib",
        shutil.disk_usage(nearest).free,
        _LEAST_FREE_SPACE,
        "Only {} MiB are free for records; a search keeps a model per trial. Make room, or name "
        "another folder with --results DIR.",
    )


def check_cluster(
    checkup: Checkup, address: str | None, results: str | Path = "results"
) -> "list[Node]":
    """Joins the cluster that the verbs would join; where they would start Ray, it only says so.

    Each node of a cluster is asked for its versions and, of several, whether it sees what this
    machine writes where the records go.

    Returns:
        The nodes that the verbs would have; none if that cannot be found out.
    """
    from fmnist_ray.dispatch.plan import Node

    address = address or os.environ.get("RAY_ADDRESS") or "local"
    checkup.facts["address"] = address
    if _version("ray") is None:
        return []
    if address == "local":
        memory = usable_memory()
        # Ray keeps three tenths of the memory for its object store.
        offered = math.inf if memory is None else 0.7 * memory
        return [Node(max(1, int(usable_cpus())), len(checkup.facts.get("gpus", [])), offered)]
    from fmnist_ray.dispatch.node_checks import look_at_nodes, refusal
    from fmnist_ray.dispatch.session import cluster_nodes, ray_session

    try:
        with ray_session(address):
            nodes = cluster_nodes()
            place = str(_nearest(results)) if len(nodes) > 1 else None
            found = look_at_nodes(nodes, place)
    except RequestError as error:
        checkup.problems.append(str(error))
    else:
        checkup.facts["cluster_nodes"] = len(nodes)
        checkup.facts["cluster_cpus"] = sum(node.cpus for node in nodes)
        checkup.facts["cluster_gpus"] = sum(node.gpus for node in nodes)
        checkup.facts["nodes"] = [each.summary() for each in found]
        wrong = [each for each in found if each.problem]
        if wrong:
            checkup.problems.append(refusal(wrong))
        return nodes
    return []


def check_plan(checkup: Checkup, nodes: "list[Node]") -> None:
    """Says how `tune` would use the nodes at its defaults."""
    from fmnist_ray.dispatch.plan import plan
    from fmnist_ray.dispatch.resources import fit_demand, fit_resources
    from fmnist_ray.search.settings import SearchSettings

    if not nodes:
        return
    trials = SearchSettings.model_fields["trials"].default
    resources = fit_resources(nodes, 0, None, None, "auto")
    try:
        places = plan(trials, nodes, fit_demand(resources))
    except RequestError as error:
        checkup.problems.append(str(error))
        return
    checkup.facts["plan_of_tune"] = places.describe("trials")


def _nearest(results: str | Path) -> Path:
    """The folder, or the nearest above it that is there."""
    folder = Path(results).absolute()
    return next(path for path in (folder, *folder.parents) if path.exists())


def _check_room(checkup: Checkup, fact: str, size: int, least: float, warning: str) -> None:
    """Notes a size in bytes, and warns (of `{}` MiB) if it is below the least that will do."""
    checkup.facts[fact] = round(size / _GIB, 1)
    if size < least:
        checkup.warnings.append(warning.format(f"{size / 2**20:.0f}"))


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


app = verb_app("Show what this machine offers and what would stop the verbs.")
app.command()(command(doctor, failed=lambda found: bool(found["problems"])))


def main() -> None:
    """Runs the command line."""
    app()


if __name__ == "__main__":
    main()
