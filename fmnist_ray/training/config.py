"""What one fit is: the model and how it is trained, as one flat set of names.

The names are the keys of search spaces and of `--set`, and they stand in records.
"""

from typing import Any, Literal, Self, get_args

from pydantic import Field, ValidationError, model_validator

from fmnist_ray.dataset.augmentation import Augmentation
from fmnist_ray.errors import RequestError
from fmnist_ray.models.config import ModelConfig

FrameworkName = Literal["torch", "tensorflow"]
OptimizerName = Literal["sgd", "adam", "adamw", "rmsprop", "nadam"]
ScheduleName = Literal["constant", "cosine", "one_cycle"]

Precision = Literal["bf16", "fp32"]
PrecisionChoice = Literal["auto", "bf16", "fp32"]

FRAMEWORK_NAMES: tuple[str, ...] = get_args(FrameworkName)
OPTIMIZER_NAMES: tuple[str, ...] = get_args(OptimizerName)
SCHEDULE_NAMES: tuple[str, ...] = get_args(ScheduleName)


class FitConfig(ModelConfig):
    """A model and its training.

    Attributes:
        optimizer: Steps the weights.
        learning_rate: Its rate; the peak, where the schedule changes it.
        momentum: Of `sgd` and `rmsprop`; the others ignore it.
        weight_decay: Decoupled in `adamw`, an L2 penalty in the others.
        batch_size: Images per step, over all workers together.
        epochs: Passes over the training images.
        schedule: `constant`; `cosine`, to zero at the end; `one_cycle`, up for 30 % of the
            steps, then down to nearly zero (Smith & Topin 2018, arXiv:1708.07120).
        label_smoothing: Share of each label spread over all classes.
        rotation_degrees: Training images are turned by up to this many degrees.
        shift_pixels: They are moved by up to this many pixels each way.
        flip: Every second one is mirrored.
        erase_probability: Share of them that loses a random rectangle.
        early_stopping: Epochs without a lower validation loss after which training ends and
            the best weights are restored; None trains to the end and keeps the last weights.
        framework: What computes: `torch`, or `tensorflow` with Keras' layers (DNN and CNN only).
            Both take the same steps over the same batches, from initial weights of their own.
    """

    optimizer: OptimizerName = "adam"
    learning_rate: float = Field(default=0.001, gt=0.0, le=100.0)
    momentum: float = Field(default=0.9, ge=0.0, lt=1.0)
    weight_decay: float = Field(default=0.0, ge=0.0, le=1.0)
    batch_size: int = Field(default=128, ge=1, le=65_536)
    epochs: int = Field(default=12, ge=1, le=10_000)
    schedule: ScheduleName = "one_cycle"
    label_smoothing: float = Field(default=0.0, ge=0.0, lt=1.0)
    rotation_degrees: float = Field(default=0.0, ge=0.0, le=180.0)
    shift_pixels: int = Field(default=0, ge=0, le=14)
    flip: bool = False
    erase_probability: float = Field(default=0.0, ge=0.0, le=1.0)
    early_stopping: int | None = Field(default=None, ge=1)
    framework: FrameworkName = "torch"

    @model_validator(mode="after")
    def _has_such_a_model(self) -> Self:
        if self.framework == "tensorflow" and self.model == "resnet":
            raise ValueError(
                "the resnet trains in torch only. Choose `dnn` or `cnn`, or `framework: torch`"
            )
        return self

    @property
    def architecture(self) -> ModelConfig:
        """The model alone."""
        return ModelConfig(**{name: getattr(self, name) for name in ModelConfig.model_fields})

    @property
    def augmentation(self) -> Augmentation:
        """The changes made to training images."""
        return Augmentation(
            rotation_degrees=self.rotation_degrees,
            shift_pixels=self.shift_pixels,
            flip=self.flip,
            erase_probability=self.erase_probability,
        )

    @classmethod
    def checked(cls, values: dict[str, Any], where: str) -> "FitConfig":
        """Builds a configuration from values that a person wrote.

        Args:
            values: Field names and values.
            where: What the values came from, for messages.

        Raises:
            RequestError: A name is unknown or a value is not allowed.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise RequestError(describe_validation_error(error, where)) from None


def describe_validation_error(error: ValidationError, where: str) -> str:
    """One line for the first thing wrong: where, which key, which value, what is allowed."""
    first = error.errors()[0]
    if not first["loc"]:  # several keys together
        return f"{where}: {first['msg'].removeprefix('Value error, ').rstrip('.')}."
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        known = ", ".join(sorted(FitConfig.model_fields))
        return f"{where}: unknown key `{key}`. Known keys: {known}."
    return f"{where}: `{key}` is {first['input']!r}. {first['msg'].rstrip('.')}."
