"""Models in forms that other programs load: ONNX and TorchScript, checked against torch.

Both take images as they are, uint8 (n, 28, 28), and give probabilities, float32 (n, 10): what
normalises the pixels is part of the file.
"""

import io
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from fmnist_ray.dataset.arrays import IMAGE_SIZE, Bytes
from fmnist_ray.errors import WorkError
from fmnist_ray.training.precision import prepare_batch
from fmnist_ray.training.predict import predict

LARGEST_DIFFERENCE = 1e-4
"""That the probabilities of a file may be off."""
INPUT, OUTPUT = "images", "probabilities"
_OPSET = 18


class Exported(NamedTuple):
    """A model as a file.

    Attributes:
        content: Of the file.
        difference: The largest between its probabilities and torch's, over the images compared.
    """

    content: bytes
    difference: float


class _ImagesToProbabilities(nn.Module):
    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits = self.module(prepare_batch(images.unsqueeze(1), "fp32"))
        return torch.softmax(logits.float(), dim=1)


def to_onnx(module: nn.Module, images: Bytes) -> Exported:
    """The model as ONNX, for any number of images at a time.

    Args:
        module: As `load_model` gives it.
        images: To compare it with torch on, uint8 (n, 28, 28).

    Raises:
        WorkError: The file's probabilities are not those of torch.
    """
    import onnxruntime

    example = torch.zeros(2, IMAGE_SIZE, IMAGE_SIZE, dtype=torch.uint8)
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            _ImagesToProbabilities(module).eval(),
            (example,),
            dynamo=True,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes=({0: torch.export.Dim("n", min=1)},),
            opset_version=_OPSET,
            verbose=False,
        )
    assert program is not None
    content = program.model_proto.SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])

    def run(batch: Bytes) -> np.ndarray:
        return np.asarray(session.run([OUTPUT], {INPUT: batch})[0])

    return Exported(content, _difference(module, images, run, "ONNX"))


def to_torchscript(module: nn.Module, images: Bytes) -> Exported:
    """The model as TorchScript; see `to_onnx`."""
    example = torch.from_numpy(images[:2].copy())
    written = io.BytesIO()
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        traced: Any = torch.jit.trace(  # type: ignore[no-untyped-call]
            _ImagesToProbabilities(module).eval(), example
        )
        torch.jit.save(traced, written)
        loaded: Any = torch.jit.load(  # type: ignore[no-untyped-call]
            io.BytesIO(written.getvalue())
        )

    def run(batch: Bytes) -> np.ndarray:
        with torch.inference_mode():
            return np.asarray(loaded(torch.from_numpy(batch.copy())))

    return Exported(written.getvalue(), _difference(module, images, run, "TorchScript"))


def _difference(
    module: nn.Module, images: Bytes, run: Callable[[Bytes], np.ndarray], what: str
) -> float:
    """The largest difference, over all images together, and over one alone."""
    expected = predict(module, images)
    found = [run(images), run(images[:1])]
    if any(each.shape[1:] != (10,) or not np.isfinite(each).all() for each in found):
        raise WorkError(f"The {what} file does not give probabilities of ten classes.")
    difference = max(
        float(np.abs(found[0] - expected).max()), float(np.abs(found[1] - expected[:1]).max())
    )
    if difference > LARGEST_DIFFERENCE:
        raise WorkError(
            f"The {what} file is off by {difference:.1g} from torch in a probability; at most "
            f"{LARGEST_DIFFERENCE:.0e} is allowed. It was not kept."
        )
    return difference
