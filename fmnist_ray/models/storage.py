"""Saves and loads trained models: `model.safetensors` and `model.json`, never a pickle."""

from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn

from fmnist_ray.errors import RequestError
from fmnist_ray.models.config import EnsembleConfig, ModelConfig
from fmnist_ray.models.torch_models import build_model, parameter_count
from fmnist_ray.records import read_json, write_json, write_whole

WEIGHTS_FILE = "model.safetensors"
DESCRIPTION_FILE = "model.json"


def save_model(
    folder: Path,
    config: ModelConfig | EnsembleConfig,
    weights: dict[str, torch.Tensor], **facts: Any
) -> None:
    """Writes a model that `load_model` reads.

    Args:
        folder: Where to, usually a record.
        config: The model's architecture.
        weights: Its state dict.
        facts: More to write into `model.json`, such as the unit it came from.
    """
    parameters = parameter_count(build_model(config, seed=0))
    contiguous = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
    write_whole(folder / WEIGHTS_FILE, save(contiguous))
    write_json(
        folder / DESCRIPTION_FILE,
        {"architecture": config.model_dump(), "parameters": parameters, **facts},
    )


def load_model(folder: Path) -> tuple[nn.Module, ModelConfig | EnsembleConfig]:
    """Loads a saved model, ready to predict (evaluation mode).

    Raises:
        RequestError: A file is missing or damaged, or weights and architecture do not agree.
    """
    description = read_json(folder / DESCRIPTION_FILE)
    architecture = description.get("architecture")
    several = isinstance(architecture, dict) and "ensemble" in architecture
    config: ModelConfig | EnsembleConfig
    try:
        config = (EnsembleConfig if several else ModelConfig).model_validate(architecture)
    except ValidationError as error:
        raise RequestError(
            f"{folder / DESCRIPTION_FILE} describes no model of this version: "
            f"{error.errors()[0]['msg']}."
        ) from None
    path = folder / WEIGHTS_FILE
    weights = load_weights(folder)
    module = build_model(config, seed=0)
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        detail = str(error).splitlines()[-1].strip()
        raise RequestError(f"{path} does not fit the model {config.model}: {detail}") from None
    return module.eval(), config


def load_weights(folder: Path) -> dict[str, torch.Tensor]:
    """The state dict of a saved model.

    Raises:
        RequestError: The file is missing or damaged.
    """
    path = folder / WEIGHTS_FILE
    try:
        weights: dict[str, torch.Tensor] = load_file(path)
    except FileNotFoundError:
        raise RequestError(f"{path} does not exist.") from None
    except OSError as error:
        raise RequestError(f"{path} cannot be read: {error.strerror or error}.") from None
    except SafetensorError as error:
        raise RequestError(f"{path} is damaged or no safetensors file: {error}.") from None
    return weights
