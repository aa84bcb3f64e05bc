"""VGG's weights: torchvision's names and shapes, and every kind of file that is not of them."""

import os
import pickle
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torch
from torchvision import models

from fmnist_ray.errors import RequestError
from fmnist_ray.models.vgg import (
    BACKBONE_NAMES,
    TransferConfig,
    block_start,
    convolution_shapes,
    find_weights,
    imagenet_path,
    read_convolutions,
)

State = dict[str, torch.Tensor]


def _theirs(backbone: str) -> torch.nn.Module:
    with torch.device("meta"):
        module: torch.nn.Module = getattr(models, backbone)(weights=None)
    return module


@pytest.fixture(scope="module")
def state() -> State:
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.randn(shape, generator=generator) / 50
        for name, shape in convolution_shapes("vgg16").items()
    }


@pytest.mark.parametrize("backbone", BACKBONE_NAMES)
def test_names_and_shapes_are_those_of_torchvision(backbone: str) -> None:
    theirs = _theirs(backbone).state_dict()
    shapes = {k: tuple(v.shape) for k, v in theirs.items() if k.startswith("features")}
    assert convolution_shapes(backbone) == shapes


@pytest.mark.parametrize("backbone", BACKBONE_NAMES)
@pytest.mark.parametrize("blocks", [1, 2])
def test_a_block_begins_behind_a_pooling(backbone: str, blocks: int) -> None:
    features: Any = _theirs(backbone).features
    start = block_start(backbone, blocks)
    assert isinstance(features[start - 1], torch.nn.MaxPool2d)
    poolings = sum(isinstance(layer, torch.nn.MaxPool2d) for layer in features[start:])
    assert poolings == blocks
    names = TransferConfig(backbone=backbone, unfrozen=blocks).own_convolutions  # type: ignore[arg-type]
    assert names[0] == f"features.{start}.weight"
    assert names == [n for n in convolution_shapes(backbone) if n in set(names)]


def test_imagenets_files_are_where_torchvision_keeps_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for variable, value in (("TORCH_HOME", str(tmp_path)), ("XDG_CACHE_HOME", str(tmp_path))):
        monkeypatch.delenv("TORCH_HOME", raising=False)
        monkeypatch.setenv(variable, value)
        for backbone, weights in (("vgg16", models.VGG16_Weights), ("vgg19", models.VGG19_Weights)):
            name = weights.IMAGENET1K_V1.url.rpartition("/")[2]
            assert imagenet_path(backbone) == Path(torch.hub.get_dir()) / "checkpoints" / name


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("classifier", [True, False])
def test_a_state_dict_is_read_with_and_without_its_classifier(
    tmp_path: Path, state: State, zipped: bool, classifier: bool
) -> None:
    saved = dict(state)
    if classifier:
        saved["classifier.0.weight"] = torch.zeros(4096, 8)
    path = tmp_path / "vgg.pth"
    torch.save(saved, path, _use_new_zipfile_serialization=zipped)
    found = read_convolutions("vgg16", find_weights("vgg16", str(path)))
    assert list(found) == list(state)
    for name, value in state.items():
        np.testing.assert_array_equal(found[name], value.numpy())


class _Code:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def _write(kind: str, path: Path, state: State) -> None:
    changed: Any = dict(state)
    match kind:
        case "code":
            path.write_bytes(pickle.dumps(_Code(path.parent / "executed")))
        case "code in a state dict":
            torch.save({**changed, "features.0.bias": _Code(path.parent / "executed")}, path)
        case "truncated" | "truncated, old format":
            torch.save(changed, path, _use_new_zipfile_serialization=kind == "truncated")
            with path.open("r+b") as stream:
                stream.truncate(path.stat().st_size // 2)
        case "text":
            path.write_text("weights")
        case "empty":
            path.write_bytes(b"")
        case "zip of something":
            import zipfile

            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("a", "b")
        case "list":
            torch.save(list(changed.values()), path)
        case "nested":
            torch.save({"state_dict": changed}, path)
        case "other network":
            torch.save({"conv1.weight": torch.zeros(64, 3, 7, 7)}, path)
        case "vgg19":
            torch.save({k: torch.zeros(v) for k, v in convolution_shapes("vgg19").items()}, path)
        case "batch norm":
            torch.save({**changed, "features.1.running_mean": torch.zeros(64)}, path)
        case "shape":
            torch.save({**changed, "features.28.weight": torch.zeros(512, 512, 1, 1)}, path)
        case "integers":
            torch.save({**changed, "features.28.bias": torch.zeros(512, dtype=torch.int64)}, path)
        case "no number":
            torch.save({**changed, "features.28.bias": torch.full((512,), torch.nan)}, path)


@pytest.mark.parametrize(
    ("kind", "part"),
    [
        ("missing", "there is no such file"),
        ("code", "not executed"),
        ("code in a state dict", "not executed"),
        ("truncated", "damaged"),
        ("truncated, old format", "damaged"),
        ("text", "damaged"),
        ("empty", "damaged"),
        ("zip of something", "damaged"),
        ("list", "holds no tensors by name"),
        ("nested", "holds no tensors by name"),
        ("other network", "not of vgg16: it lacks features.0.bias"),
        ("vgg19", "is of vgg19. Give --backbone vgg19"),
        ("batch norm", "also holds features.1.running_mean"),
        ("shape", "features.28.weight is torch.float32 of shape (512, 512, 1, 1)"),
        ("integers", "features.28.bias is torch.int64"),
        ("no number", "no finite numbers"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, state: State, kind: str, part: str) -> None:
    path = tmp_path / "bad.pth"
    _write(kind, path, state)
    with pytest.raises(RequestError) as refused:
        read_convolutions("vgg16", find_weights("vgg16", str(path)))
    assert part in str(refused.value)
    assert "bad.pth" in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "executed").exists()


def test_without_a_network_the_message_says_which_file_to_put_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_: Any, **__: Any) -> Any:
        raise URLError("Name or service not known")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.urlopen", unreachable)
    with pytest.raises(RequestError) as refused:
        find_weights("vgg19", "imagenet", quiet=True)
    message = str(refused.value)
    assert "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth" in message
    assert str(tmp_path / "hub" / "checkpoints" / "vgg19-dcbb9e9d.pth") in message
    assert "Name or service not known" in message
    assert not list(tmp_path.rglob("*.pth*")), "no part of a download is left"


def test_a_damaged_file_in_torchvisions_cache_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    path = imagenet_path("vgg16")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"half a download")
    with pytest.raises(RequestError, match=r"begins with .*, not with 397923af. Delete it"):
        find_weights("vgg16", "imagenet")
