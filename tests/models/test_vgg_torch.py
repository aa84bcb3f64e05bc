"""Classifiers on VGG as torch modules, saved and loaded."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional
from torchvision import models
from torchvision.transforms._presets import ImageClassification

from fmnist_ray.errors import RequestError
from fmnist_ray.models.config import Weights
from fmnist_ray.models.vgg import (
    Origin,
    TransferConfig,
    convolution_shapes,
    find_weights,
    save_transferred,
)
from fmnist_ray.models.vgg_torch import build_features, load_transferred, to_backbone_input


@pytest.fixture(scope="module")
def convolutions() -> Weights:
    draw = np.random.default_rng(0)
    return {
        # Scaled by the number of inputs, so that activations neither vanish nor explode.
        name: draw.standard_normal(shape, np.float32) / np.float32(np.sqrt(9 * shape[0]))
        for name, shape in convolution_shapes("vgg16").items()
    }


def test_features_are_those_of_torchvisions_model(convolutions: Weights) -> None:
    theirs = models.vgg16(weights=None, init_weights=False).eval()
    tensors = {name: torch.from_numpy(value) for name, value in convolutions.items()}
    theirs.load_state_dict(tensors, strict=False)
    images = torch.randn(3, 3, 32, 32)
    ours = build_features("vgg16", convolutions)
    with torch.inference_mode():
        torch.testing.assert_close(ours(images), theirs.features(images))
    before = convolutions["features.0.weight"].copy()
    with torch.no_grad():
        next(ours.parameters()).zero_()
    np.testing.assert_array_equal(convolutions["features.0.weight"], before)


def test_inputs_are_normalised_as_torchvision_does_it() -> None:
    grey = torch.randint(0, 256, (2, 1, 32, 32), dtype=torch.uint8)
    theirs = ImageClassification(crop_size=32, resize_size=32)(grey.expand(-1, 3, -1, -1))
    torch.testing.assert_close(to_backbone_input(grey.float() / 255, 32), theirs)
    small = torch.rand(2, 1, 28, 28)
    resized = functional.interpolate(small, size=(48, 48), mode="bilinear", align_corners=False)
    torch.testing.assert_close(to_backbone_input(small, 48), to_backbone_input(resized, 48))


@pytest.mark.parametrize("unfrozen", [0, 1])
def test_a_saved_model_holds_what_was_trained_and_comes_back_whole(
    tmp_path: Path, convolutions: Weights, unfrozen: int
) -> None:
    source = tmp_path / "vgg16.pth"
    torch.save({k: torch.from_numpy(v) for k, v in convolutions.items()}, source)
    config = TransferConfig(backbone="vgg16", unfrozen=unfrozen)  # type: ignore[arg-type]
    draw = np.random.default_rng(1)
    own = {
        "head.weight": draw.standard_normal((10, 512), np.float32),
        "head.bias": draw.standard_normal(10, np.float32),
    }
    own |= {name: convolutions[name] * 2 for name in config.own_convolutions}
    origin = Origin(str(source), find_weights("vgg16", str(source)).sha256, 0.25, 0.5)
    save_transferred(tmp_path / "record", config, own, origin, unit="final")
    size = (tmp_path / "record" / "model.safetensors").stat().st_size
    assert size < (30_000 if not unfrozen else 30_000_000)
    module, loaded = load_transferred(tmp_path / "record")
    assert loaded == config
    pixels = torch.rand(4, 1, 28, 28)
    with torch.inference_mode():
        logits = module((pixels - 0.25) / 0.5)
        features = build_features("vgg16", {**convolutions, **own_convolutions(own)})
        expected = functional.linear(
            features(to_backbone_input(pixels, 32)).flatten(1),
            torch.from_numpy(own["head.weight"]),
            torch.from_numpy(own["head.bias"]),
        )
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)
    torch.save({k: torch.from_numpy(v + 1) for k, v in convolutions.items()}, source)
    with pytest.raises(RequestError, match="is not the file that"):
        load_transferred(tmp_path / "record")


def own_convolutions(own: Weights) -> Weights:
    return {name: value for name, value in own.items() if name.startswith("features")}
