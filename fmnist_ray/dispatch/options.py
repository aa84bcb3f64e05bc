"""What a person may ask of a run, checked; and runs that go on under their name."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fmnist_ray.dataset.arrays import Dataset, fingerprint
from fmnist_ray.errors import RequestError
from fmnist_ray.records import Record, check_name
from fmnist_ray.training.config import PrecisionChoice


class Options(BaseModel):
    """Options of a verb by the names they have on the command line, `_` for `-`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @classmethod
    def checked(cls, values: Mapping[str, Any]) -> Self:
        """Builds them from what was asked for; those left out or None take the defaults.

        Raises:
            RequestError: A value is not allowed; the message names the option.
        """
        try:
            return cls.model_validate({k: v for k, v in values.items() if v is not None})
        except ValidationError as error:
            first = error.errors()[0]
            option = "--" + ".".join(str(part) for part in first["loc"]).replace("_", "-")
            raise RequestError(
                f"{option} is {first['input']!r}. {first['msg'].rstrip('.')}."
            ) from None


class UnitOptions(Options):
    """What verbs that run units as Ray tasks share.

    Attributes:
        seed: Of everything random.
        train_size: Use only so many training images.
        data: Where they are.
        workers: Of each unit's worker group; 0 for the unit's own process.
        cpus: CPUs of each unit.
        gpus: GPUs of each process.
        max_concurrent: Units at a time.
        precision: Of the fits.
        retries: Times a failed unit is tried again.
        storage: Where checkpoints are kept; None for the record itself.
    """

    # Where and with how much a run goes on may differ from how it was begun.
    CHANGEABLE: ClassVar[frozenset[str]] = frozenset(
        {"data", "workers", "cpus", "gpus", "max_concurrent", "retries", "storage"}
    )

    seed: int = Field(default=0, ge=0)
    train_size: int | None = Field(default=None, ge=10)
    data: str | None = None
    workers: int = Field(default=0, ge=0)
    cpus: float | None = Field(default=None, gt=0)
    gpus: float | None = Field(default=None, ge=0)
    max_concurrent: int | None = Field(default=None, ge=1)
    precision: PrecisionChoice = "auto"
    retries: int = Field(default=2, ge=0)
    storage: str | None = None

    @classmethod
    def of_run(cls, record: Record | None, values: Mapping[str, Any]) -> Self:
        """As `checked`; of a run that is there already, those left out are as it was begun.

        Raises:
            RequestError: As `checked`, or what is asked for would make it another run.
        """
        if record is None:
            return cls.checked(values)
        recorded = record.run()["config"]
        # Checked first, so that what is compared has the form that the record has.
        asked = cls.checked({**recorded, **{k: v for k, v in values.items() if v is not None}})
        for key, value in asked.model_dump(mode="json").items():
            if key not in cls.CHANGEABLE and value != recorded.get(key):
                option = "--" + key.replace("_", "-")
                raise RequestError(
                    f"{record.path} was begun with {option} {_shown(recorded.get(key))}, and now "
                    f"{_shown(value)} is asked for. Leave it out to go on with that run, or "
                    "choose another --name."
                )
        return asked


def named_run(results: str, name: str | None, verb: str) -> Record | None:
    """The run of that name if there is one, to go on with.

    Raises:
        RequestError: The name belongs to another verb's run.
    """
    path = Path(results) / check_name(name) if name is not None else None
    if path is None or not (path / "run.json").is_file():
        return None
    record = Record.open(path)
    found = record.run().get("verb")
    if found != verb:
        raise RequestError(
            f"{path} is a record of `{found}`, not of `{verb}`. Choose another --name."
        )
    return record


def begin_run(record: Record, verb: str, options: UnitOptions, dataset: Dataset) -> None:
    """Begins the record of a new run, or looks whether an old one's data are the same.

    Raises:
        RequestError: The data differ.
    """
    sha256 = fingerprint(dataset)
    if not record.begun:
        facts = {"source": dataset.source, "sha256": sha256}
        record.start(verb, options.model_dump(mode="json"), options.seed, facts)
        return
    before = record.run()["data"].get("sha256", {})
    changed = [name for name, digest in sha256.items() if before.get(name) != digest]
    if changed:
        raise RequestError(
            f"The data of {dataset.source} are not those that {record.path} was begun with "
            f"({', '.join(changed)} differ). Name the same data with --data."
        )


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={item}" for key, item in value.items() if item is not None)
    return str(value)
