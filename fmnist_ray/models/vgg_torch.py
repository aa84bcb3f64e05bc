"""VGG backbones and classifiers on them as torch modules; the layers are torchvision's."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError
from torch import nn
from torch.nn import functional

from fmnist_ray.errors import RequestError
from fmnist_ray.models.config import Weights
from fmnist_ray.models.storage import DESCRIPTION_FILE, load_weights
from fmnist_ray.models.vgg import TransferConfig, find_weights, read_convolutions
from fmnist_ray.records import read_json

CLASSES = 10
# Of torchvision's ImageNet presets, as shares of 255.
_MEAN = (0.485, 0.456, 0.406)
_DEVIATION = (0.229, 0.224, 0.225)


def build_features(backbone: str, convolutions: Weights) -> nn.Sequential:
    """torchvision's `features`, ready to predict, in memory layout channels-last.

    Args:
        backbone: `vgg16` or `vgg19`.
        convolutions: As `vgg.read_convolutions` gives them.
    """
    from torchvision import models

    # Built without memory: the classifier, which is not kept, would take 480 MB.
    with torch.device("meta"):
        features: nn.Sequential = getattr(models, backbone)(weights=None).features
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        tensors = {
            name.removeprefix("features."): torch.from_numpy(value)
            for name, value in convolutions.items()
        }
    features.load_state_dict(tensors, assign=True)
    # A copy, since the arrays may be shared memory that must not be written.
    for parameter in features.parameters():
        parameter.data = parameter.detach().clone()
    return features.eval().to(memory_format=torch.channels_last)


def to_backbone_input(images: torch.Tensor, input_size: int) -> torch.Tensor:
    """Grey images as ImageNet's networks take them: resized, in three channels, normalised.

    Args:
        images: Floats from 0 to 1, (n, 1, height, width).
        input_size: Height and width to resize to, bilinearly.

    Returns:
        float32, (n, 3, input_size, input_size), channels-last.
    """
    resized = functional.interpolate(
        images, size=(input_size, input_size), mode="bilinear", align_corners=False
    )
    mean = torch.tensor(_MEAN, device=images.device).view(1, 3, 1, 1)
    deviation = torch.tensor(_DEVIATION, device=images.device).view(1, 3, 1, 1)
    return ((resized - mean) / deviation).contiguous(memory_format=torch.channels_last)


class VggClassifier(nn.Module):
    """Convolutions and one output layer on them, for images normalised as for other models.

    Args:
        features: As `build_features` gives them.
        config: What they are.
        pixel_mean: What images (0 to 1) were reduced by before they come in.
        pixel_deviation: What they were divided by.
    """

    def __init__(
        self,
        features: nn.Sequential,
        config: TransferConfig,
        pixel_mean: float,
        pixel_deviation: float,
    ) -> None:
        super().__init__()
        self.features = features
        self.head = nn.Linear(config.features, CLASSES)
        self._input_size = config.input_size
        self._mean, self._deviation = pixel_mean, pixel_deviation

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits (n, 10) of images (n, 1, 28, 28)."""
        pixels = images.float() * self._deviation + self._mean
        features = self.features(to_backbone_input(pixels, self._input_size))
        logits: torch.Tensor = self.head(features.flatten(1))
        return logits


def build_classifier(
    config: TransferConfig,
    convolutions: Weights,
    own: Mapping[str, np.ndarray],
    pixel_mean: float,
    pixel_deviation: float,
) -> VggClassifier:
    """A classifier, ready to predict.

    Args:
        config: What it is.
        convolutions: The backbone's.
        own: `head.weight`, `head.bias`, and the convolutions that were unfrozen.
        pixel_mean: See `VggClassifier`.
        pixel_deviation: Likewise.

    Raises:
        RuntimeError: Weights and architecture do not agree.
    """
    features = build_features(config.backbone, convolutions)
    module = VggClassifier(features, config, pixel_mean, pixel_deviation)
    state = {f"features.{name}": value for name, value in features.state_dict().items()}
    unknown = set(own) - set(state) - {"head.weight", "head.bias"}
    if unknown:
        raise RuntimeError(f"unexpected weights {', '.join(sorted(unknown))}")
    state |= {name: torch.from_numpy(np.array(value)) for name, value in own.items()}
    module.load_state_dict(state)
    return module.eval()


def load_transferred(folder: Path) -> tuple[VggClassifier, TransferConfig]:
    """Loads the model of a record of `transfer`, ready to predict.

    The record holds only what was trained; the rest is read from where it came from.

    Raises:
        RequestError: A file is missing, damaged or another than the model was trained on.
    """
    path = folder / DESCRIPTION_FILE
    description: dict[str, Any] = read_json(path)
    try:
        config = TransferConfig.model_validate(description["architecture"])
        source, sha256 = (description["backbone_weights"][key] for key in ("source", "sha256"))
        pixels = (float(description["pixels"][key]) for key in ("mean", "deviation"))
        mean, deviation = pixels
    except (KeyError, TypeError, ValueError, ValidationError) as error:
        raise RequestError(f"{path} describes no model of `transfer`: {error!r}.") from None
    own = load_weights(folder)
    file = find_weights(config.backbone, str(source))
    if file.sha256 != sha256:
        raise RequestError(
            f"{file.path} is not the file that {folder} was trained on (SHA-256 {sha256[:12]}...). "
            "Put that file there again."
        )
    try:
        convolutions = read_convolutions(config.backbone, file)
        return build_classifier(config, convolutions, own, mean, deviation), config
    except RuntimeError as error:
        detail = str(error).splitlines()[-1].strip()
        raise RequestError(f"{folder} does not fit the model {config.model}: {detail}") from None
