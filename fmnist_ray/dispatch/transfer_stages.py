"""The stages of `transfer`: features, output layers on them, and on demand the last blocks."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import Console

from fmnist_ray.dataset.arrays import Dataset
from fmnist_ray.dataset.preparation import TRAIN_MEAN, TRAIN_STD
from fmnist_ray.dispatch.feature_store import FeatureSet, FeatureSource, features_precision
from fmnist_ray.dispatch.features import PROCESS_MEMORY, block_count, make_features
from fmnist_ray.dispatch.finetuning import FinetuneUnit, finetune_blocks
from fmnist_ray.dispatch.head_units import (
    FINAL,
    HeadUnit,
    best_head,
    final_head,
    head_trials,
)
from fmnist_ray.dispatch.heads import PROCESS_MEMORY as HEAD_MEMORY
from fmnist_ray.dispatch.heads import HeadData, fit_heads
from fmnist_ray.dispatch.plan import Demand, Node, Plan, plan
from fmnist_ray.dispatch.progress import clock
from fmnist_ray.dispatch.resources import fit_demand, fit_resources
from fmnist_ray.dispatch.room import Room
from fmnist_ray.dispatch.run_name import RunName
from fmnist_ray.dispatch.seeds import FINETUNE_FIT, unit_seed
from fmnist_ray.dispatch.session import started_here
from fmnist_ray.dispatch.transfer_options import TransferOptions
from fmnist_ray.dispatch.unit_records import (
    UnitsRun,
    adopt_model,
)
from fmnist_ray.errors import WorkError
from fmnist_ray.evaluation.metrics import accuracy_summary
from fmnist_ray.models.config import Weights
from fmnist_ray.models.storage import load_weights
from fmnist_ray.models.vgg import Origin, TransferConfig, WeightsFile, read_convolutions
from fmnist_ray.records import TEST_PREDICTIONS_FILE, Record, read_predictions
from fmnist_ray.training.ray_train import Resources

_LINE_EVERY_SECONDS = 30.0

Progress = Callable[[str], AbstractContextManager[Callable[[int, int], None]]]
"""Shows a bar of that name for as long as the context lasts; takes what is done and all."""


@dataclass(frozen=True)
class Images:
    """Which images a run uses, and for what.

    Attributes:
        dataset: All of them.
        used: Indices of the training images that are used.
        train: Positions within `used` of those to train on.
        validation: Positions within `used` of those that settings are chosen by.
    """

    dataset: Dataset
    used: np.ndarray
    train: np.ndarray
    validation: np.ndarray


class Stages:
    """What a run does within a Ray session.

    Args:
        options: The run's.
        file: The backbone's weights.
        convolutions: Read from it, or None to read them where they are needed.
        images: Of the run.
        nodes: The cluster's.
        console: For people.
        progress: Shows bars.
        run: Names the tasks in Ray's tables and metrics.

    Raises:
        RequestError: A stage can never run on these nodes.
    """

    def __init__(
        self,
        options: TransferOptions,
        file: WeightsFile,
        convolutions: Weights | None,
        images: Images,
        nodes: list[Node],
        console: Console,
        progress: Progress,
        run: RunName,
    ) -> None:
        self.options, self.file, self.images, self.nodes = options, file, images, nodes
        self.console, self.progress, self.name = console, progress, run
        self._read = convolutions
        self.finetunes = options.mode == "finetune"
        self.each = fit_resources(nodes, 0, options.cpus, options.gpus, options.precision)
        self.config = TransferConfig(backbone=options.backbone, input_size=options.input_size)
        self.origin = Origin(options.weights, file.sha256, TRAIN_MEAN, TRAIN_STD)
        pixels = images.dataset.train.images
        arrays = {"train": pixels if len(images.used) == len(pixels) else pixels[images.used]}
        if not self.finetunes:
            arrays["test"] = images.dataset.test.images
        self.precision = features_precision(options.precision, self.each.gpus)
        self.arrays = [
            (FeatureSet.of(split, self.config, file.sha256, array, self.precision), array)
            for split, array in arrays.items()
        ]
        self.sets = [features for features, _ in self.arrays]
        each, most = self.each, options.max_concurrent
        demand = Demand(each.cpus, each.gpus, PROCESS_MEMORY)
        self.blocks = plan(max(1, block_count(self.sets)), nodes, demand, most)
        demand = Demand(each.cpus, memory=HEAD_MEMORY)
        self.heads = plan(1 if self.finetunes else options.trials, nodes, demand, most)
        self.whole = self._whole_node()
        if self.finetunes:
            plan(1, nodes, fit_demand(self.whole))

    def run(self, record: Record) -> dict[str, Any]:
        """Does what the record lacks.

        Returns:
            The record's metrics.

        Raises:
            WorkError: A stage failed for good; what is done is kept.
        """
        self._features()
        here = started_here()
        sources = [FeatureSource.of(features, here) for features in self.sets]
        images = self.images
        data = HeadData(
            sources[0],
            images.dataset.train.labels[images.used],
            images.used,
            sources[1] if len(sources) > 1 else None,
            images.dataset.test.labels,
        )
        trials = head_trials(
            self.heads.units,
            self.options.epochs,
            self.options.seed,
            images.train,
            images.validation,
        )
        self._say(f"plan: {self.heads.describe('heads')}")
        tried = self._fit(record, trials, data, UnitsRun({}, {}))
        if not tried.metrics:
            raise WorkError(f"All heads failed: {next(iter(tried.failures.values()))}.")
        best = best_head(trials, tried)
        facts = {
            "mode": self.options.mode,
            "backbone": self.options.backbone,
            "input_size": self.options.input_size,
            "weights": self.options.weights,
            "weights_sha256": self.file.sha256,
            "precision": self.precision,
            "feature_seconds": round(sum(features.seconds() for features in self.sets), 1),
            "validation_images": len(images.validation),
        }
        if self.finetunes:
            return facts | self._finetune(record, best, tried)
        return facts | self._final(record, best, tried, data)

    def _features(self) -> None:
        folder = self.sets[0].folder.parent
        if not block_count(self.sets):
            for features in self.sets:
                features.join()  # of a run that was stopped right before it
            self._say(f"features: found in {folder}")
            return
        self._say(f"plan: {self.blocks.describe('blocks of features')}")
        said = time.monotonic()
        with self.progress("Features") as bar:

            def on_progress(done: int, total: int) -> None:
                nonlocal said
                bar(done, total)
                # Where there is no bar to be seen, a line now and then.
                if not self.console.is_terminal and time.monotonic() - said > _LINE_EVERY_SECONDS:
                    said = time.monotonic()
                    self._say(f"features: {done:,} of {total:,} images")

            make_features(
                self.arrays,
                self._convolutions(),
                self._room(self.blocks),
                run=self.name,
                cpus=self.each.cpus,
                gpus=self.each.gpus,
                retries=self.options.retries,
                on_progress=on_progress,
                on_retry=lambda name, why: self._say(f"{name} is tried again: {why}"),
            )
        seconds = clock(sum(features.seconds() for features in self.sets))
        self._say(f"features: {seconds}, kept in {folder}")

    def _fit(
        self, record: Record, units: list[HeadUnit], data: HeadData, before: UnitsRun
    ) -> UnitsRun:
        with self.progress("Heads, epochs") as done:
            return fit_heads(
                record,
                units,
                data,
                self.config,
                self.origin,
                self._room(self.heads),
                run=self.name,
                cpus=self.each.cpus,
                retries=self.options.retries,
                rows_before=_rows(before),
                on_epoch=done,
                say=self._say,
            )

    def _final(
        self, record: Record, best: HeadUnit, tried: UnitsRun, data: HeadData
    ) -> dict[str, Any]:
        """The best trial's settings on all training images, judged on the test images."""
        run = self._fit(record, [final_head(best, len(data.labels))], data, tried)
        if run.failures:
            raise WorkError(f"The final head failed: {run.failures[FINAL]}.")
        adopt_model(record, FINAL)
        judged, found = tried.metrics[best.name], run.metrics[FINAL]
        stored = read_predictions(record.unit(FINAL) / TEST_PREDICTIONS_FILE)
        return {
            "trials": len(tried.metrics),
            "trials_failed": len(tried.failures),
            "best_unit": best.name,
            **best.config.model_dump(),
            "train_images": found["train_images"],
            "train_accuracy": found["train_accuracy"],
            "validation_accuracy": judged["validation_accuracy"],
            "validation_loss": judged["validation_loss"],
            **accuracy_summary(data.test_labels, stored.probability, "test"),
            "head_seconds": round(found["busy_seconds"], 2),
            "search_seconds": round(sum(e["busy_seconds"] for e in tried.metrics.values()), 2),
        }

    def _finetune(self, record: Record, head: HeadUnit, tried: UnitsRun) -> dict[str, Any]:
        """The last blocks trained on, from the head's weights."""
        from fmnist_ray.training.finetune import FinetuneConfig, Start

        options, images = self.options, self.images
        config = FinetuneConfig(
            backbone=options.backbone,
            input_size=options.input_size,
            unfrozen=options.unfreeze,
            epochs=options.epochs,
        )
        seed = unit_seed(options.seed, FINETUNE_FIT)
        used = images.used
        unit = FinetuneUnit(config, seed, used[images.train], used[images.validation])
        with self.progress("Fine-tuning, epochs") as done:
            metrics = finetune_blocks(
                record,
                unit,
                Start(self._convolutions(), load_weights(record.unit(head.name))),
                images.dataset,
                self.origin,
                self.whole,
                run=self.name,
                retries=options.retries,
                storage=options.storage,
                rows_before=_rows(tried),
                on_epoch=done,
                say=self._say,
            )
        judged = tried.metrics[head.name]["validation_accuracy"]
        return {"head_validation_accuracy": judged, **metrics}

    def _room(self, places: Plan) -> Room:
        """Features and heads leave nothing on the nodes: the driver writes them."""
        return Room.of(places, self.options.max_concurrent, None, self._say)

    def _whole_node(self) -> Resources:
        """What one fit gets that has the machine to itself, as in `train`."""
        cpus, gpus = self.options.cpus, self.options.gpus
        if cpus is None:
            cpus = max((node.cpus for node in self.nodes), default=1.0)
        if gpus is None:
            gpus = 1.0 if any(node.gpus for node in self.nodes) else 0.0
        return fit_resources(self.nodes, 0, cpus, gpus, self.options.precision)

    def _convolutions(self) -> Weights:
        if self._read is None:
            self._read = read_convolutions(self.options.backbone, self.file)
        return self._read

    def _say(self, text: str) -> None:
        self.console.print(text, markup=False)


def _rows(run: UnitsRun) -> list[dict[str, Any]]:
    return [{"unit": name, **row} for name, each in run.metrics.items() for row in each["history"]]
