"""What a search is, in full: it is written into the record, and a resume reads it from there."""

import math
from typing import Any, Literal, get_args

from pydantic import Field

from fmnist_ray.dispatch.options import Options
from fmnist_ray.errors import RequestError
from fmnist_ray.training.config import PrecisionChoice

SearcherName = Literal["random", "grid", "optuna"]
SchedulerName = Literal["asha", "asha-promotion", "median", "pbt", "none"]
MetricName = Literal["validation_accuracy", "validation_loss"]

SEARCHER_NAMES: tuple[str, ...] = get_args(SearcherName)
SCHEDULER_NAMES: tuple[str, ...] = get_args(SchedulerName)
METRIC_NAMES: tuple[str, ...] = get_args(MetricName)

# What a resumed search may do otherwise than before: where and how much, never what.
CHANGEABLE = frozenset(
    {
        "trials",
        "cpus_per_trial",
        "gpus_per_trial",
        "max_concurrent",
        "time_budget",
        "trial_timeout",
        "retrain_seeds",
        "data",
        "mlflow",
        "tensorboard",
    }
)


class SearchSettings(Options):
    """The settings of a search.

    Attributes:
        space: The search space as plain data, see `search.space`.
        space_source: The file it came from.
        trials: Trials in all.
        max_epochs: Most epochs of a trial; a trial with fewer `epochs` of its own ends there.
        searcher: Which configurations are tried.
        scheduler: Which trials are stopped early, or paused.
        reduction_factor: ASHA keeps one trial in this many at each rung.
        metric: What is compared: `validation_accuracy` (highest) or `validation_loss` (lowest).
        workers_per_trial: 0 trains within the trial's process, else a Ray Train worker group.
        cpus_per_trial: CPUs of a trial, shared by its workers; None for one per process.
        gpus_per_trial: GPUs of each process, a fraction to share; None for automatic.
        max_concurrent: Trials at a time; None for as many as fit.
        train_size: Images to use, validation included; None for all.
        validation_fraction: Share of them held out to compare trials.
        time_budget: Seconds after which no further epoch is begun; None for no limit.
        trial_timeout: Seconds that an epoch of a trial may take before its process is killed;
            None for no limit.
        retrain_seeds: Times the best configuration is trained anew on all images and scored.
        storage: Where checkpoints are kept; None for the record itself.
        tensorboard: Whether TensorBoard files are written.
        mlflow: Tracking URI, or None.
        seed: Of everything random.
        precision: See `training.precision`.
        data: What `--data` named.
    """

    space: dict[str, Any]
    space_source: str
    trials: int = Field(default=24, ge=1, le=1_000_000)
    max_epochs: int = Field(default=12, ge=1, le=10_000)
    searcher: SearcherName = "random"
    scheduler: SchedulerName = "asha"
    reduction_factor: float = Field(default=3, gt=1)
    metric: MetricName = "validation_accuracy"
    workers_per_trial: int = Field(default=0, ge=0)
    cpus_per_trial: float | None = Field(default=None, gt=0)
    gpus_per_trial: float | None = Field(default=None, ge=0)
    max_concurrent: int | None = Field(default=None, ge=1)
    train_size: int | None = Field(default=None, ge=20)
    validation_fraction: float = Field(default=0.1, gt=0, lt=1)
    time_budget: float | None = Field(default=None, gt=0)
    trial_timeout: float | None = Field(default=None, gt=0)
    retrain_seeds: int = Field(default=3, ge=0, le=1000)
    storage: str | None = None
    tensorboard: bool = True
    mlflow: str | None = None
    seed: int = Field(default=0, ge=0)
    precision: PrecisionChoice = "auto"
    data: str | None = None

    @property
    def model(self) -> str:
        """The model that is searched, or `mixed`."""
        return str(self.space["fixed"].get("model", "mixed"))

    @property
    def mode(self) -> Literal["max", "min"]:
        """Whether the metric is to be high or low."""
        return "max" if self.metric == "validation_accuracy" else "min"

    @property
    def promotes(self) -> bool:
        """Whether trials pause at rungs until they are promoted."""
        return self.scheduler == "asha-promotion"

    @property
    def rungs(self) -> list[int]:
        """The epochs at which ASHA decides, below the last: 1, `reduction_factor`, its square, ...

        A rung between two epochs decides at the later one. Empty for other schedulers.
        """
        rungs: list[int] = []
        milestone = 1.0
        while self.scheduler in ("asha", "asha-promotion") and milestone < self.max_epochs:
            rungs.append(math.ceil(milestone - 1e-9))
            milestone *= self.reduction_factor
        return [rung for rung in dict.fromkeys(rungs) if rung < self.max_epochs]

    def changed(self, values: dict[str, Any]) -> "SearchSettings":
        """These settings with what a resume asks to be otherwise.

        Raises:
            RequestError: Something is asked that would make it another search.
        """
        asked = {k: v for k, v in values.items() if v is not None}
        for key, value in asked.items():
            if key not in CHANGEABLE and value != getattr(self, key):
                option = "--" + key.replace("_", "-")
                raise RequestError(
                    f"{option} cannot be changed on --resume: the search was begun with "
                    f"{getattr(self, key)!r}. Leave it out, or begin a new search."
                )
        if asked.get("trials", self.trials) < self.trials:
            raise RequestError(
                f"--trials {asked['trials']} is fewer than the {self.trials} the search was begun "
                "with. Ask for as many or more."
            )
        return SearchSettings.checked({**self.model_dump(), **asked})
