"""What a person may ask of a run of `transfer`, and whether its weights are the right ones."""

from typing import ClassVar, Literal

from pydantic import Field

from fmnist_ray.dispatch.feature_store import weights_folder
from fmnist_ray.dispatch.options import UnitOptions
from fmnist_ray.errors import RequestError
from fmnist_ray.models.config import Weights
from fmnist_ray.models.vgg import IMAGENET, BackboneName, WeightsFile, read_convolutions
from fmnist_ray.records import Record


class TransferOptions(UnitOptions):
    """Options of a transfer.

    Attributes:
        backbone: `vgg16` or `vgg19`.
        weights: `imagenet` or a file.
        input_size: Height and width that images are resized to, in pixels.
        mode: `frozen` trains the output layer alone, `finetune` the last blocks with it.
        epochs: The most that a head trains; those of fine-tuning.
        trials: Heads that are tried, in `frozen`.
        unfreeze: Blocks that are trained, in `finetune`.
    """

    # What counts is the content of the weights, see `check_weights`.
    CHANGEABLE: ClassVar[frozenset[str]] = UnitOptions.CHANGEABLE | {"weights"}

    backbone: BackboneName = "vgg16"
    weights: str = IMAGENET
    input_size: int = Field(default=32, ge=32, le=512)
    mode: Literal["frozen", "finetune"] = "frozen"
    epochs: int = Field(default=20, ge=1, le=10_000)
    trials: int = Field(default=8, ge=1, le=1000)
    unfreeze: Literal[1, 2] = 1


def check_weights(
    options: TransferOptions, record: Record | None, file: WeightsFile
) -> Weights | None:
    """Looks whether the weights are those that the run needs.

    Returns:
        The convolutions; None of a file that has been read and found right before, since a run
        that finds its features does not need them.

    Raises:
        RequestError: They are no weights of the backbone, or not those the run was begun with.
    """
    if record is not None:
        before = record.run().get("weights", {}).get("sha256", file.sha256)
        if before != file.sha256:
            raise RequestError(
                f"{record.path} was begun with weights of SHA-256 {before[:12]}..., and {file.path} "
                f"has {file.sha256[:12]}... Name the same weights, or choose another --name."
            )
    if weights_folder(options.backbone, file.sha256).is_dir():
        return None
    return read_convolutions(options.backbone, file)
