"""VGG16 and VGG19 as backbones: which weights they take, and where those come from.

Names and shapes are torchvision's. Here they are computed and not asked of torchvision, which
takes seconds to import: a run that finds its features on disk needs neither it nor torch.
The networks: Simonyan & Zisserman 2014, arXiv:1409.1556.
"""

import hashlib
import os
import pickle
import sys
import warnings
import zipfile
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from safetensors.numpy import save

from fmnist_ray.errors import RequestError
from fmnist_ray.models.config import Weights
from fmnist_ray.models.storage import DESCRIPTION_FILE, WEIGHTS_FILE
from fmnist_ray.records import write_json, write_whole

BackboneName = Literal["vgg16", "vgg19"]
BACKBONE_NAMES: tuple[str, ...] = get_args(BackboneName)
IMAGENET = "imagenet"
"""Stands for torchvision's weights, in place of a file."""

SMALLEST_INPUT = 32
"""Five poolings leave one pixel of it."""

_CONVOLUTIONS = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
_CHANNELS = (64, 128, 256, 512, 512)
# torchvision's own cache files; the digits are the first of the SHA-256.
_IMAGENET_FILES = {"vgg16": "vgg16-397923af.pth", "vgg19": "vgg19-dcbb9e9d.pth"}
_DOWNLOAD_TIMEOUT = 30.0
# What torch's readers raise when they meet bytes that they do not expect.
_DAMAGE = (AttributeError, EOFError, ImportError, LookupError, RuntimeError, TypeError, ValueError)


class TransferConfig(BaseModel):
    """A classifier on a backbone, for 28 x 28 grey images and 10 classes.

    Attributes:
        backbone: `vgg16` or `vgg19`.
        input_size: Height and width that images are resized to, in pixels.
        unfrozen: How many of the last blocks have weights of their own; the others have the
            backbone's.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    backbone: BackboneName
    input_size: int = Field(default=SMALLEST_INPUT, ge=SMALLEST_INPUT, le=512)
    unfrozen: Literal[0, 1, 2] = 0

    @property
    def model(self) -> str:
        """Its name, such as `vgg16`."""
        return self.backbone

    @property
    def features(self) -> int:
        """Numbers that the convolutions leave of an image: 512 at an input size of 32."""
        return _CHANNELS[-1] * (self.input_size // 32) ** 2

    @property
    def own_convolutions(self) -> list[str]:
        """Names of the unfrozen blocks' kernels and biases, in order."""
        if not self.unfrozen:
            return []
        first = block_start(self.backbone, self.unfrozen)
        names = convolution_shapes(self.backbone)
        return [name for name in names if int(name.split(".")[1]) >= first]


@dataclass(frozen=True)
class WeightsFile:
    """A state dict on disk.

    Attributes:
        path: Where it is.
        sha256: Of its bytes.
    """

    path: Path
    sha256: str


@dataclass(frozen=True)
class Origin:
    """Where the weights that a model shares with its backbone are read from.

    Attributes:
        source: `imagenet` or a file.
        sha256: Of the file's bytes.
        pixel_mean: What the model's images (0 to 1) are reduced by before they come in.
        pixel_deviation: What they are divided by.
    """

    source: str
    sha256: str
    pixel_mean: float
    pixel_deviation: float


def convolution_shapes(backbone: str) -> dict[str, tuple[int, ...]]:
    """Shapes of the convolutions' kernels and biases, by torchvision's names, in order."""
    shapes: dict[str, tuple[int, ...]] = {}
    layer, channels = 0, 3
    for count, filters in zip(_CONVOLUTIONS[backbone], _CHANNELS, strict=True):
        for _ in range(count):
            shapes[f"features.{layer}.weight"] = (filters, channels, 3, 3)
            shapes[f"features.{layer}.bias"] = (filters,)
            layer, channels = layer + 2, filters
        layer += 1
    return shapes


def block_start(backbone: str, last_blocks: int) -> int:
    """The layer within torchvision's `features` at which the last blocks begin."""
    counts = _CONVOLUTIONS[backbone]
    return sum(2 * count + 1 for count in counts[: len(counts) - last_blocks])


def find_weights(backbone: str, weights: str, quiet: bool = False) -> WeightsFile:
    """The file of the weights; ImageNet's are downloaded if they are not in torchvision's cache.

    Args:
        backbone: `vgg16` or `vgg19`.
        weights: `imagenet` or a file.
        quiet: Whether a download shows no progress.

    Raises:
        RequestError: There is no such file, or it can be neither found nor downloaded.
    """
    path = Path(weights)
    if weights == IMAGENET:
        path = imagenet_path(backbone)
        if not path.is_file():
            _download(backbone, path, quiet)
    try:
        with path.open("rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    except FileNotFoundError:
        raise RequestError(
            f"--weights {weights}: there is no such file. Name a torchvision state dict of "
            f"{backbone}, or `imagenet`."
        ) from None
    except OSError as error:
        raise RequestError(
            f"--weights {weights} cannot be read: {error.strerror or error}."
        ) from None
    if weights == IMAGENET:
        begins = path.stem.rpartition("-")[2]
        if not sha256.startswith(begins):
            raise RequestError(
                f"{path} is damaged: its SHA-256 begins with {sha256[:8]}, not with {begins}. "
                "Delete it, and it is downloaded again."
            )
    return WeightsFile(path, sha256)


def imagenet_path(backbone: str) -> Path:
    """Where torchvision keeps the backbone's ImageNet weights on this machine."""
    # As torch.hub.get_dir, without importing torch.
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = Path(os.environ.get("TORCH_HOME") or Path(cache) / "torch").expanduser()
    return home / "hub" / "checkpoints" / _IMAGENET_FILES[backbone]


def read_convolutions(backbone: str, file: WeightsFile) -> Weights:
    """The convolutions of a state dict, checked by names, shapes and values.

    Nothing in the file is executed: torch reads it with `weights_only=True`.

    Returns:
        float32 arrays, by torchvision's names. A classifier in the file is left out.

    Raises:
        RequestError: The file is damaged, holds something else than tensors, or those of
            another network.
    """
    found = _load(backbone, file.path)
    shapes = convolution_shapes(backbone)
    names = {name for name in found if not name.startswith("classifier.")}
    if names != set(shapes):
        for other in BACKBONE_NAMES:
            if names == set(convolution_shapes(other)):
                raise RequestError(f"{file.path} is of {other}. Give --backbone {other}.")
        odd = sorted(set(shapes) - names) or sorted(names - set(shapes))
        what = "lacks" if set(shapes) - names else "also holds"
        raise RequestError(
            f"{file.path} is not of {backbone}: it {what} {', '.join(odd[:3])}"
            f"{', ...' if len(odd) > 3 else ''}. Name a torchvision state dict of {backbone}."
        )
    for name, shape in shapes.items():
        if tuple(found[name].shape) != shape or not found[name].is_floating_point():
            raise RequestError(
                f"{file.path}: {name} is {found[name].dtype} of shape {tuple(found[name].shape)}, "
                f"but {backbone} has floats of shape {shape}. Name a torchvision state dict of "
                f"{backbone}."
            )
    arrays: Weights = {name: found[name].float().numpy().copy() for name in shapes}
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise RequestError(f"{file.path}: {name} holds values that are no finite numbers.")
    return arrays


def _load(backbone: str, path: Path) -> dict[str, Any]:
    """The tensors of a file by name."""
    import torch

    wanted = f"Name a torchvision state dict of {backbone}, as torch.save writes it."
    try:
        # A classifier is nine tenths of such a file; mapped, it is never read. The format before
        # torch 1.6, which torchvision's own files have, cannot be mapped.
        mapped = zipfile.is_zipfile(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickles that it then refuses
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError:
        raise RequestError(
            f"{path} cannot be read as weights alone: it is damaged, or a pickle with more in it "
            f"than tensors, which is not executed. {wanted}"
        ) from None
    except OSError as error:
        raise RequestError(f"{path} cannot be read: {error.strerror or error}.") from None
    except _DAMAGE as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].partition(". ")[0]
        raise RequestError(
            f"{path} is damaged or no state dict: {reason.rstrip('.')}. {wanted}"
        ) from None
    if not isinstance(content, dict) or not all(
        isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in content.items()
    ):
        raise RequestError(f"{path} holds no tensors by name. {wanted}")
    return content


def _download(backbone: str, path: Path, quiet: bool) -> None:
    """Downloads ImageNet weights into torchvision's cache, its checksum verified."""
    import socket

    from torchvision.models import VGG16_Weights, VGG19_Weights

    weights = {"vgg16": VGG16_Weights, "vgg19": VGG19_Weights}[backbone].IMAGENET1K_V1
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_DOWNLOAD_TIMEOUT)  # torch.hub itself would wait for ever
    try:
        # torch.hub prints where to; standard output is for results.
        with redirect_stdout(sys.stderr):
            weights.get_state_dict(progress=not quiet, check_hash=True, weights_only=True)
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        raise RequestError(
            f"--weights imagenet: {weights.url} could not be downloaded ({reason}). Download that "
            f"file elsewhere and put it at {path}, or name a state dict with --weights FILE."
        ) from None
    finally:
        socket.setdefaulttimeout(before)


def save_transferred(
    folder: Path, config: TransferConfig, own: Weights, origin: Origin, **facts: Any
) -> None:
    """Writes a model that `vgg_torch.load_transferred` reads: what was trained, and the origin.

    Args:
        folder: Where to, usually a record.
        config: The classifier.
        own: `head.weight`, `head.bias`, and the convolutions that were unfrozen.
        origin: Of the rest, which is large and stays where it is.
        facts: More to write into `model.json`, such as the unit it came from.
    """
    write_whole(folder / WEIGHTS_FILE, save({k: np.asarray(v, order="C") for k, v in own.items()}))
    write_json(
        folder / DESCRIPTION_FILE,
        {
            "architecture": config.model_dump(),
            "parameters": sum(each.size for each in own.values()),
            "backbone_weights": {"source": origin.source, "sha256": origin.sha256},
            "pixels": {"mean": origin.pixel_mean, "deviation": origin.pixel_deviation},
            **facts,
        },
    )
