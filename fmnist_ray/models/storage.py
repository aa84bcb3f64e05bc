"""Saves and loads trained models: `model.safetensors` and `model.json`, never a pickle.

Weights are NumPy arrays under torch's names, so that writing and averaging them needs no torch;
only `load_model` and `build_with` import it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from fmnist_ray.errors import RequestError
from fmnist_ray.models.config import EnsembleConfig, ModelConfig, Weights
from fmnist_ray.records import read_json, write_json, write_whole

if TYPE_CHECKING:
    from torch import nn

    from fmnist_ray.models.vgg import TransferConfig

WEIGHTS_FILE = "model.safetensors"
DESCRIPTION_FILE = "model.json"

# What a state dict holds besides parameters that are trained: batch norm's statistics.
_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def save_model(
    folder: Path, config: ModelConfig | EnsembleConfig, weights: Mapping[str, Any], **facts: Any
) -> None:
    """Writes a model that `load_model` reads.

    Args:
        folder: Where to, usually a record.
        config: The model's architecture.
        weights: Its arrays, or tensors of the CPU, by their names in torch's state dict.
        facts: More to write into `model.json`, such as the unit it came from.
    """
    arrays = {name: np.asarray(value, order="C") for name, value in weights.items()}
    parameters = sum(each.size for name, each in arrays.items() if not name.endswith(_STATISTICS))
    write_whole(folder / WEIGHTS_FILE, save(arrays))
    write_json(
        folder / DESCRIPTION_FILE,
        {"architecture": config.model_dump(), "parameters": parameters, **facts},
    )


def ensemble_weights(members: Mapping[str, Weights]) -> Weights:
    """The weights of an ensemble from those of its members, by name."""
    return {
        f"members.{name}.{key}": value
        for name, weights in members.items()
        for key, value in weights.items()
    }


def load_model(
    folder: Path,
) -> tuple["nn.Module", "ModelConfig | EnsembleConfig | TransferConfig"]:
    """Loads a saved model, ready to predict (evaluation mode).

    Raises:
        RequestError: A file is missing or damaged, or weights and architecture do not agree.
    """
    description = read_json(folder / DESCRIPTION_FILE)
    architecture = description.get("architecture")
    if isinstance(architecture, dict) and "backbone" in architecture:
        from fmnist_ray.models.vgg_torch import load_transferred

        return load_transferred(folder)
    several = isinstance(architecture, dict) and "ensemble" in architecture
    config: ModelConfig | EnsembleConfig
    try:
        config = (EnsembleConfig if several else ModelConfig).model_validate(architecture)
    except ValidationError as error:
        raise RequestError(
            f"{folder / DESCRIPTION_FILE} describes no model of this version: "
            f"{error.errors()[0]['msg']}."
        ) from None
    weights = load_weights(folder)
    try:
        return build_with(config, weights), config
    except RuntimeError as error:
        detail = str(error).splitlines()[-1].strip()
        raise RequestError(
            f"{folder / WEIGHTS_FILE} does not fit the model {config.model}: {detail}"
        ) from None


def load_weights(folder: Path) -> Weights:
    """The weights of a saved model.

    Raises:
        RequestError: The file is missing or damaged.
    """
    path = folder / WEIGHTS_FILE
    try:
        weights: Weights = load_file(path)
    except FileNotFoundError:
        raise RequestError(f"{path} does not exist.") from None
    except OSError as error:
        raise RequestError(f"{path} cannot be read: {error.strerror or error}.") from None
    except SafetensorError as error:
        raise RequestError(f"{path} is damaged or no safetensors file: {error}.") from None
    return weights


def build_with(config: ModelConfig | EnsembleConfig, weights: Weights) -> "nn.Module":
    """A torch module with the weights, ready to predict (evaluation mode).

    Raises:
        RuntimeError: Weights and architecture do not agree.
    """
    import torch

    from fmnist_ray.models.torch_models import build_model

    module = build_model(config, seed=0)
    # Copied, since the arrays may be read-only.
    module.load_state_dict({name: torch.from_numpy(np.array(v)) for name, v in weights.items()})
    return module.eval()
