"""A whole run of units: plan, record, fits, conclusion. What folds and ensembles have in common."""

import shlex
from collections.abc import Callable, Sequence
from typing import Any

from rich.console import Console

from fmnist_ray.dataset.arrays import Dataset
from fmnist_ray.dispatch.at_work import at_work
from fmnist_ray.dispatch.node_checks import check_nodes, check_storage
from fmnist_ray.dispatch.options import UnitOptions, begin_run
from fmnist_ray.dispatch.plan import plan
from fmnist_ray.dispatch.progress import UnitsProgress
from fmnist_ray.dispatch.resources import fit_demand, fit_resources, worthwhile
from fmnist_ray.dispatch.run_name import RunName
from fmnist_ray.dispatch.session import cluster_nodes, ray_session
from fmnist_ray.dispatch.unit_records import UnitsRun, checkpoint_place, fit_units, missing_units
from fmnist_ray.dispatch.units import FitUnit
from fmnist_ray.errors import WorkError
from fmnist_ray.records import Record

Conclude = Callable[[Record, UnitsRun, Dataset], dict[str, Any]]


def run_fits(
    verb: str,
    record: Record | None,
    options: UnitOptions,
    units: Sequence[FitUnit],
    dataset: Dataset,
    conclude: Conclude,
    *,
    what: str,
    label: str,
    name: str | None,
    results: str,
    address: str | None,
    console: Console,
    begun: Callable[[Record], None] = lambda record: None,
) -> dict[str, Any]:
    """Fits the units that a run's record lacks, and concludes from those that are complete.

    Args:
        verb: The verb that runs.
        record: The run to go on with, or None for a new one.
        options: The run's.
        units: All of the run's.
        dataset: Its images.
        conclude: Writes what the complete units come to and returns the record's metrics.
        what: What the units are called, such as `folds`.
        label: What a made-up name says, such as the model.
        name: The record's, or None to make one up.
        results: Folder that holds the records.
        address: Of the cluster.
        console: Where progress is shown; a quiet one shows nothing.
        begun: Called with a new record.

    Returns:
        The record's metrics, with `record`: its folder.

    Raises:
        RequestError: The units can never run, or the record cannot be made.
        WorkError: Units failed for good; the others are in the record.
        Interrupted: Ctrl-C or SIGTERM; the message holds the command that goes on.
    """
    is_new = record is None
    record = record or Record.create(results, name, verb, label)
    run_name = RunName(verb, record.name, label)
    with record.gone_if_refused(), ray_session(address, run_name, console):
        nodes = cluster_nodes()
        resources = fit_resources(
            nodes, options.workers, options.cpus, options.gpus, options.precision
        )
        check_storage(options.storage)
        check_nodes(nodes, checkpoint_place(record, options.storage))
        missing = missing_units(record, units)
        places = plan(max(1, len(missing)), nodes, fit_demand(resources), options.max_concurrent)
        if options.max_concurrent is None:
            places = worthwhile(places, missing, resources)
        begin_run(record, verb, options, dataset)
        if is_new:
            begun(record)
        console.print(f"record: {record.path}", markup=False)
        if len(missing) < len(units):
            done = len(units) - len(missing)
            console.print(f"{done} of {len(units)} {what} are complete already", markup=False)
        if missing:
            console.print(f"plan: {places.describe(what)}", markup=False)
        go_on = f"python -m fmnist_ray.{verb} --name {shlex.quote(record.name)}"
        if results != "results":
            go_on += f" --results {shlex.quote(results)}"
        changes = {"config": options.model_dump(mode="json")}
        with at_work(record, go_on, console, **changes):
            with UnitsProgress(console, what, missing, places.slots) as progress:
                run = fit_units(
                    record,
                    units,
                    dataset,
                    places,
                    resources,
                    progress,
                    run_name,
                    at_most=options.max_concurrent,
                    storage=options.storage,
                    retries=options.retries,
                )
            metrics = conclude(record, run, dataset) if run.metrics else {}
            if run.failures:
                reasons = "; ".join(f"{unit}: {reason}" for unit, reason in run.failures.items())
                raise WorkError(
                    f"{len(run.failures)} of {len(units)} {what} failed, the others are in "
                    f"{record.path}. {reasons}."
                )
    console.print(
        f"score it in detail: python -m fmnist_ray.evaluate {shlex.quote(str(record.path))}",
        markup=False,
    )
    return {"record": str(record.path), **metrics}
