"""From what a person asks for to what each fit gets and what the planner reckons with."""

import math
from collections.abc import Sequence
from dataclasses import replace

from fmnist_ray.dispatch.plan import GIB, Demand, Node, Plan
from fmnist_ray.dispatch.units import FitUnit
from fmnist_ray.errors import RequestError
from fmnist_ray.training.config import PrecisionChoice
from fmnist_ray.training.ray_train import Resources

# Measured on Linux with torch 2.15: a process that trains the CNN or ResNet, shared memory
# apart, and Ray Train's controller with its placement-group cleaner beside a worker group.
PROCESS_MEMORY = 1.2 * GIB
_CONTROLLER_MEMORY = 1.5 * GIB
_FITS_PER_GPU = 4
# Measured on one thread of an AMD EPYC (Zen 5): training on one image, and starting a process
# with torch and Ray Train.
_SECONDS_PER_IMAGE = {"dnn": 1.2e-5, "cnn": 1.4e-4, "resnet": 4e-4}
_START_SECONDS = 3.5


def fit_resources(
    nodes: Sequence[Node],
    workers: int,
    cpus: float | None,
    gpus: float | None,
    precision: PrecisionChoice,
) -> Resources:
    """What each process of a fit gets, `auto` (None) resolved against the cluster.

    Without a number, a process gets one CPU, and on a cluster with GPUs a share of one: a
    quarter, or more where the CPUs allow fewer fits beside each other than that.

    Args:
        nodes: The cluster's.
        workers: 0 for a fit in its task's or trial's own process, else a group of so many.
        cpus: CPUs of the whole fit, shared by its workers.
        gpus: GPUs of each process.
        precision: Of the fit.

    Raises:
        RequestError: A number is not one that Ray can give.
    """
    if cpus is not None and not cpus > 0:
        raise RequestError(f"{cpus:g} CPUs for a fit are not possible: ask for more than 0.")
    if gpus is not None and not (0 <= gpus <= 1 or (gpus > 1 and float(gpus).is_integer())):
        raise RequestError(
            f"{gpus:g} GPUs for each process are not possible: ask for 0, for a share of one such "
            "as 0.25, or for whole ones."
        )
    processes = max(1, workers)
    cpus_each = (cpus or float(processes)) / processes
    if gpus is None:
        all_gpus = sum(node.gpus for node in nodes)
        beside = int(sum(n.cpus for n in nodes if n.gpus) // (all_gpus or 1) // cpus_each)
        gpus = 0.0 if not all_gpus else 1 / max(1, min(_FITS_PER_GPU, beside))
    return Resources(cpus=cpus_each, gpus=gpus, workers=workers, precision=precision)


def fit_demand(resources: Resources) -> Demand:
    """What the planner reckons for a fit."""
    return Demand(
        cpus=resources.cpus,
        gpus=resources.gpus,
        memory=PROCESS_MEMORY,
        processes=max(1, resources.workers),
        overhead_memory=PROCESS_MEMORY + _CONTROLLER_MEMORY if resources.workers else 0.0,
    )


def worthwhile(places: Plan, units: Sequence[FitUnit], resources: Resources) -> Plan:
    """The plan with fewer slots where units are too short to be worth so many processes.

    A process that trains takes seconds to start, and to start two at once takes longer than
    one. So each shall have at least as much to train as its start costs; fits on GPUs and in
    worker groups are left alone.
    """
    if resources.gpus or resources.workers:
        return places
    seconds = sum(
        len(unit.train) * unit.config.epochs * _SECONDS_PER_IMAGE[unit.config.model]
        for unit in units
    )
    slots = max(1, int(seconds / resources.cpus / _START_SECONDS))
    if slots >= places.slots:
        return places
    waves = math.ceil(places.units / slots)
    return replace(places, slots=slots, waves=waves, limit="what starting a process costs")
