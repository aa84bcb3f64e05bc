"""A whole run of `transfer`: its record, and the stages that fill it."""

import shlex
from typing import Any

import numpy as np
from rich.console import Console

from fmnist_ray.dataset.arrays import Dataset
from fmnist_ray.dataset.splits import save_indices, stratified_split, stratified_subset
from fmnist_ray.dispatch.at_work import at_work
from fmnist_ray.dispatch.node_checks import check_nodes, check_storage
from fmnist_ray.dispatch.options import begin_run
from fmnist_ray.dispatch.run_name import RunName
from fmnist_ray.dispatch.session import cluster_nodes, ray_session
from fmnist_ray.dispatch.transfer_options import TransferOptions
from fmnist_ray.dispatch.transfer_stages import Images, Progress, Stages
from fmnist_ray.dispatch.unit_records import checkpoint_place
from fmnist_ray.models.config import Weights
from fmnist_ray.models.vgg import WeightsFile
from fmnist_ray.records import Record

VERB = "transfer"
VALIDATION_FRACTION = 0.1


def run_transfer(
    options: TransferOptions,
    file: WeightsFile,
    convolutions: Weights | None,
    dataset: Dataset,
    record: Record | None,
    *,
    name: str | None,
    results: str,
    address: str | None,
    console: Console,
    progress: Progress,
) -> dict[str, Any]:
    """Does what the run's record lacks, and concludes.

    Args:
        options: The run's.
        file: The backbone's weights.
        convolutions: Read from it, or None to read them where they are needed.
        dataset: The images.
        record: The run to go on with, or None for a new one.
        name: Of a new record; None to make one up.
        results: Folder of the records.
        address: Of the cluster.
        console: For people.
        progress: Shows bars.

    Returns:
        The record's metrics, with `record`: its folder.

    Raises:
        RequestError: The run can never run, or the record cannot be made.
        WorkError: Work failed for good; what is done is kept.
        Interrupted: Ctrl-C or SIGTERM; the message holds the command that goes on.
    """
    images = _images(options, dataset)
    record = record or Record.create(results, name, VERB, options.backbone)
    run = RunName(VERB, record.name, options.backbone)
    with record.gone_if_refused(), ray_session(address, run, console):
        nodes = cluster_nodes()
        stages = Stages(options, file, convolutions, images, nodes, console, progress, run)
        check_storage(options.storage)
        # Only fine-tuning keeps checkpoints, which the nodes write.
        place = checkpoint_place(record, options.storage) if stages.finetunes else None
        check_nodes(nodes, place)
        begin_run(record, VERB, options, dataset)
        console.print(f"record: {record.path}", markup=False)
        go_on = f"python -m fmnist_ray.{VERB} --name {shlex.quote(record.name)}"
        if results != "results":
            go_on += f" --results {shlex.quote(results)}"
        weights = {"source": options.weights, "path": str(file.path), "sha256": file.sha256}
        changes = {"config": options.model_dump(mode="json"), "weights": weights}
        with at_work(record, go_on, console, **changes):
            used = images.used
            parts = {"train": used[images.train], "validation": used[images.validation]}
            save_indices(record.path / "split.npz", **parts)
            metrics = stages.run(record)
            record.write_metrics(metrics)
            _draw(record)
    return {"record": str(record.path), **metrics}


def _images(options: TransferOptions, dataset: Dataset) -> Images:
    labels = dataset.train.labels
    used = np.arange(len(labels))
    if options.train_size is not None:
        used = stratified_subset(labels, options.train_size, options.seed)
    train, validation = stratified_split(labels[used], VALIDATION_FRACTION, options.seed)
    return Images(dataset, used, train, validation)


def _draw(record: Record) -> None:
    # Imported here, since a run that finds its features would wait for nothing else as long.
    from fmnist_ray.reports.curves import draw_curves, read_curves
    from fmnist_ray.reports.figures import write_png

    title = f"Learning curves of {record.name}"
    curves = draw_curves(read_curves(record.path / "history.csv"), title)
    write_png(record.path / "figures" / "learning_curves.png", curves)
