"""SVM, random forest and logistic regression for comparison, tuned: every fit a Ray task.

python -m fmnist_ray.baselines --models svm,random_forest,logistic_regression
"""

import shlex
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn
from rich.text import Text

from fmnist_ray.console import (
    AddressOption,
    DataOption,
    JsonOption,
    MaxConcurrentOption,
    QuietOption,
    ResultsOption,
    RetriesOption,
    RunNameOption,
    RunSeedOption,
    TrainSizeOption,
    command,
    messages,
    progress_bar,
    verb_app,
)
from fmnist_ray.dispatch.options import UnitOptions, begin_run, named_run
from fmnist_ray.errors import RequestError, WorkError
from fmnist_ray.models.classical import MODEL_NAMES, PROCESS_MEMORY, svm_library

if TYPE_CHECKING:
    from rich.console import Console

    from fmnist_ray.dataset.arrays import Dataset
    from fmnist_ray.dispatch.tasks import Tell
    from fmnist_ray.records import Record
    from fmnist_ray.training.classical import ClassicalFit, ClassicalUnit, FitsLeft

app = verb_app("SVM, random forest and logistic regression for comparison, tuned.")
VERB = "baselines"
# A use of the run's seed besides those of `dispatch.seeds`.
_SEEDS = 6


class BaselinesOptions(UnitOptions):
    """Options of a comparison.

    Attributes:
        models: Names from `MODEL_NAMES`, with commas between them.
        validation_fraction: Share of the training images that settings are chosen by.
    """

    models: str = ",".join(MODEL_NAMES)
    validation_fraction: float = 0.1


def baselines(
    models: Annotated[
        str | None,
        typer.Option(
            "--models",
            metavar="NAME,...",
            help="Of svm, random_forest and logistic_regression.  [default: all three]",
        ),
    ] = None,
    train_size: TrainSizeOption = None,
    validation_fraction: Annotated[
        float | None,
        typer.Option(
            "--validation-fraction",
            metavar="SHARE",
            help="Share of the training images that settings are chosen by.  [default: 0.1]",
        ),
    ] = None,
    cpus: Annotated[
        int | None,
        typer.Option("--cpus", metavar="N", help="CPUs, and threads, of each fit.  [default: 1]"),
    ] = None,
    max_concurrent: MaxConcurrentOption = None,
    retries: RetriesOption = None,
    data: DataOption = None,
    seed: RunSeedOption = None,
    name: RunNameOption = None,
    results: ResultsOption = "results",
    address: AddressOption = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> dict[str, Any]:
    """Tune an SVM, a random forest and logistic regression, and score the best of each.

    Each setting of a small grid is fitted as a Ray task of its own and judged on validation
    images. Each model's best is then fitted on all training images and scored on the test images,
    once. A call on the `--name` of an earlier run goes on with it, and its options need not be
    given again.

    Returns:
        The record's metrics, with `record`: its folder.

    Raises:
        RequestError: A setting is wrong; nothing was started.
        WorkError: A fit failed for good; the others are in the record.
        Interrupted: Ctrl-C or SIGTERM; the message holds the command that goes on.
    """
    from rich.console import Console

    from fmnist_ray.dataset.sources import load_dataset

    del as_json  # the command line prints the result
    console = Console(stderr=True, quiet=True) if quiet else messages()
    record = named_run(results, name, VERB)
    asked = {
        "models": None if models is None else _known_models(models),
        "train_size": train_size,
        "validation_fraction": validation_fraction,
        "cpus": cpus,
        "max_concurrent": max_concurrent,
        "retries": retries,
        "data": data,
        "seed": seed,
    }
    options = BaselinesOptions.of_run(record, asked)
    with progress_bar("Reading the data", quiet) as progress:
        dataset = load_dataset(options.data, progress=progress)
    return _run(options, dataset, record, name, results, address, console)


def _known_models(text: str) -> str:
    """The names of a list, each once and in the order of `MODEL_NAMES`."""
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in MODEL_NAMES:
            raise RequestError(
                f"--models names {name!r}. Choose from {', '.join(MODEL_NAMES)}, with commas "
                "between them."
            )
    return ",".join(name for name in MODEL_NAMES if name in names)


def _run(
    options: BaselinesOptions,
    dataset: "Dataset",
    record: "Record | None",
    name: str | None,
    results: str,
    address: str | None,
    console: "Console",
) -> dict[str, Any]:
    from fmnist_ray.dispatch.at_work import at_work
    from fmnist_ray.dispatch.plan import Demand, plan
    from fmnist_ray.dispatch.seeds import unit_seed
    from fmnist_ray.dispatch.session import cluster_nodes, ray_session
    from fmnist_ray.training.classical import (
        FitsLeft,
        best_unit,
        conclude,
        final_unit,
        grid_units,
        is_done,
        split_images,
    )

    used, train, validation = split_images(
        dataset.train.labels, options.train_size, options.validation_fraction, options.seed
    )
    grids = {}
    for model in options.models.split(","):
        seed = unit_seed(options.seed, _SEEDS, MODEL_NAMES.index(model))
        grids[model] = grid_units(model, train, validation, seed)
    tried = [unit for units in grids.values() for unit in units]
    # Which settings they get is not known before the grids are done, but that they come.
    to_come = [final_unit(units[0], used) for units in grids.values()]
    with ray_session(address) as dashboard:
        demand = Demand(options.cpus or 1, memory=max(PROCESS_MEMORY[model] for model in grids))
        count = len(tried) + len(to_come)
        places = plan(count, cluster_nodes(), demand, options.max_concurrent)
        label = "mixed" if len(grids) > 1 else options.models
        record = begin_run(record, results, name, VERB, label, options, dataset)
        console.print(f"record: {record.path}", markup=False)
        if dashboard:
            console.print(f"dashboard: {dashboard} (token: ray get-auth-token)", markup=False)
        console.print(f"plan: {places.describe('fits')}", markup=False)
        if "svm" in grids and svm_library() == "scikit-learn":
            console.print(
                "svm: fitted by scikit-learn alone, ten times slower than with "
                "scikit-learn-intelex, which is not installed or has no wheel for this system",
                markup=False,
            )
        go_on = f"python -m fmnist_ray.{VERB} --name {shlex.quote(record.name)}"
        if results != "results":
            go_on += f" --results {shlex.quote(results)}"
        with at_work(record, go_on, console, config=options.model_dump(mode="json")):
            with _Progress(console, FitsLeft((tried, to_come), places.slots)) as progress:
                fits = _Fits(record, dataset, options, places.slots, progress)
                fits.complete(tried)
                best = [each for units in grids.values() if (each := best_unit(record, units))]
                finals = [final_unit(unit, used) for unit in best]
                fits.complete(finals)
            done = [pair for pair in zip(best, finals, strict=True) if is_done(record, pair[1])]
            metrics = conclude(record, done) | {"fits_failed": len(fits.failures)}
            record.write_metrics(metrics)
            _show(metrics, [unit for unit, _ in done], console)
            if fits.failures:
                reasons = "; ".join(f"{unit}: {why}" for unit, why in fits.failures.items())
                raise WorkError(
                    f"{len(fits.failures)} of {count} fits failed, the others are in "
                    f"{record.path}. {reasons}."
                )
    return {"record": str(record.path), **metrics}


def _show(metrics: dict[str, Any], best: "Sequence[ClassicalUnit]", console: "Console") -> None:
    """Prints a table of the models' best."""
    from rich.table import Table

    table = Table("Model", "Setting", "Validation", "Test", "Final fit (s)")
    for unit in best:
        setting = ", ".join(f"{key}={value}" for key, value in unit.settings.items())
        shown = {"validation_accuracy": ".4f", "test_accuracy": ".4f", "fit_seconds": ".1f"}
        figures = (f"{metrics[f'{unit.model}_{key}']:{form}}" for key, form in shown.items())
        table.add_row(unit.model, setting, *figures)
    console.print(table)


class _Fits:
    """The fits of a record: those that it lacks are run, and each is written as it ends.

    Attributes:
        failures: Why each fit failed that did, by its name.
    """

    def __init__(
        self,
        record: "Record",
        dataset: "Dataset",
        options: BaselinesOptions,
        slots: int,
        progress: "_Progress",
    ) -> None:
        import ray

        from fmnist_ray.training.classical import ClassicalData

        self.failures: dict[str, str] = {}
        self._record, self._dataset, self._options = record, dataset, options
        self._slots, self._progress = slots, progress
        images, labels = dataset.train.images, dataset.train.labels
        self._shared = ray.put(ClassicalData(images, labels, dataset.test.images))

    def complete(self, units: "Sequence[ClassicalUnit]") -> None:
        """Runs those of the units that the record lacks."""
        from fmnist_ray.dispatch.progress import clock
        from fmnist_ray.dispatch.tasks import Task, run_tasks
        from fmnist_ray.training.classical import is_done, write_failure, write_fit

        missing = {unit.name: unit for unit in units if not is_done(self._record, unit)}
        self._progress.skip([unit for unit in units if unit.name not in missing])
        cpus = self._options.cpus or 1.0
        for outcome in run_tasks(
            _fit,
            [Task(unit.name, (unit, [self._shared], int(cpus))) for unit in missing.values()],
            self._slots,
            cpus=cpus,
            retries=self._options.retries,
            on_retry=lambda name, why: self._progress.say(f"{name} is tried again: {why}"),
        ):
            unit, fit = missing[outcome.name], outcome.value
            if outcome.failed:
                why = self.failures[unit.name] = outcome.failures[-1]
                write_failure(self._record, unit, outcome.failures)
                self._progress.ended(unit, f"failed: {why}")
                continue
            split, labels = "test", self._dataset.test.labels
            if unit.validation is not None:
                split, labels = "validation", self._dataset.train.labels[unit.validation]
            metrics = write_fit(self._record, unit, fit, labels, outcome.failures)
            seconds = fit.fit_seconds + fit.predict_seconds
            accuracy = f"{split} accuracy {metrics[f'{split}_accuracy']:.4f}"
            self._progress.ended(unit, f"{accuracy} after {clock(seconds)}", seconds)


def _fit(unit: "ClassicalUnit", shared: list[Any], threads: int, tell: "Tell") -> "ClassicalFit":
    """What runs in the task."""
    import ray

    from fmnist_ray.training.classical import fit_unit

    return fit_unit(unit, ray.get(shared[0]), threads)


class _TimeLeft(ProgressColumn):
    """Counts down to when the fits are expected to be done."""

    def render(self, task: Task) -> Text:
        from fmnist_ray.dispatch.progress import clock

        ends = task.fields["ends"]
        return Text("" if ends is None else f"about {clock(max(0, ends - time.monotonic()))} left")


class _Progress:
    """A line per ended fit; on a terminal also a bar over what the fits are expected to take."""

    def __init__(self, console: "Console", left: "FitsLeft") -> None:
        self._console, self._left = console, left
        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), _TimeLeft())
        hidden = console.quiet or not console.is_terminal
        self._bar = Progress(*columns, console=console, transient=True, disable=hidden)
        self._total = left.expected_seconds
        self._task = self._bar.add_task(f"{len(left)} fits to go", total=self._total, ends=None)

    def __enter__(self) -> "_Progress":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def say(self, text: str) -> None:
        """Prints a line above the bar."""
        self._console.print(text, markup=False)

    def skip(self, units: "Sequence[ClassicalUnit]") -> None:
        """Those are complete already."""
        for unit in units:
            self._left.ended(unit.name)
        if units:
            self.say(f"{', '.join(unit.name for unit in units)}: complete already")
        self._update()

    def ended(self, unit: "ClassicalUnit", text: str, seconds: float | None = None) -> None:
        """A fit is complete after so many seconds, or has failed; `text` says so to people."""
        self.say(f"{unit.name}: {text}")
        self._left.ended(unit.name, seconds)
        self._update()

    def _update(self) -> None:
        seconds = self._left.seconds
        self._bar.update(
            self._task,
            completed=self._total - self._left.expected_seconds,
            description=f"{len(self._left)} fits to go",
            ends=None if seconds is None else time.monotonic() + seconds,
        )


app.command()(command(baselines))


def main() -> None:
    """The command line."""
    app()


if __name__ == "__main__":
    main()
