"""Configurations that a person names: defaults, a file or a record, and single settings."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from fmnist_ray.errors import RequestError
from fmnist_ray.records import Record, read_json
from fmnist_ray.training.config import FRAMEWORK_NAMES, FitConfig


def read_configuration(
    model: str | None,
    config: str | None,
    settings: Sequence[str] = (),
    framework: str | None = None,
) -> FitConfig:
    """The configuration of a fit: defaults, then the file's or record's values, then settings.

    Args:
        model: Its model; None takes the file's or record's, or without one the CNN.
        config: A YAML file of settings, or a record.
        settings: Single ones as `key=value`.
        framework: What it trains in; None takes the file's or record's, or without one torch.

    Raises:
        RequestError: A name is unknown, a value not allowed, or the file names no model and
            nothing else does.
    """
    values: dict[str, Any] = {}
    if config is not None:
        values |= _file_or_record(Path(config))
        if model is None and "model" not in values:
            raise RequestError(
                f"{config} names no model. Add a line such as `model: cnn`, or give --model."
            )
    if model is not None:
        values["model"] = model
    if framework is not None:
        if framework not in FRAMEWORK_NAMES:
            raise RequestError(f"--framework is {framework!r}. Choose torch or tensorflow.")
        values["framework"] = framework
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not key:
            raise RequestError(f"--set {setting!r} must have the form KEY=VALUE.")
        try:
            values[key.strip()] = _value(text)
        except yaml.YAMLError:
            raise RequestError(f"--set {key}: {text!r} cannot be read as a value.") from None
    return FitConfig.checked(values, "--set" if settings else (config or "--model"))


def _value(text: str) -> Any:
    """A value as YAML reads it, and numbers such as 1e-3, which YAML takes for text."""
    value = yaml.safe_load(text)
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _file_or_record(path: Path) -> dict[str, Any]:
    if path.is_dir():
        return _of_record(Record.open(path))
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(
            f"--config {path} cannot be read: {error}. Name a YAML file or a record."
        ) from None
    except yaml.YAMLError as error:
        raise RequestError(f"{path} is not YAML: {' '.join(str(error).split())}.") from None
    if not isinstance(content, dict):
        raise RequestError(f"{path} must hold settings as `key: value`.")
    return content


def _of_record(record: Record) -> dict[str, Any]:
    """A search's best configuration, or that of a run which has only one."""
    run = record.run()
    if run.get("verb") == "tune":
        metrics = record.path / "metrics.json"
        best = read_json(metrics).get("best_unit") if metrics.is_file() else None
        if best is None:
            raise RequestError(
                f"{record.path} has no best trial yet, its status is `{run.get('status')}`. Let "
                "the search end first."
            )
        return read_json(record.unit(best) / "config.json")
    fit = run.get("config", {}).get("fit")
    if not isinstance(fit, dict):
        raise RequestError(
            f"{record.path} is a record of `{run.get('verb')}`, which has no single "
            "configuration. Name a record of tune, train or cross_validate, or a YAML file."
        )
    return fit
