"""Plain fp32 torch, as a tutorial has it: torch's own layers, optimizers, `DataLoader`, transforms."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset, TensorDataset

from fmnist_ray.dataset.preparation import TRAIN_MEAN, TRAIN_STD

ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh}
Batches = Iterable[tuple[torch.Tensor, torch.Tensor]]


def plain_model(model: str, activation: str = "relu") -> nn.Sequential:
    """The CNN of 121,930 or the DNN of 109,386 parameters, as one would write it down."""
    act = ACTIVATIONS[activation]
    if model == "dnn":
        return nn.Sequential(
            nn.Flatten(), nn.Linear(784, 128), act(), nn.Linear(128, 64), act(), nn.Linear(64, 10)
        )
    return nn.Sequential(
        nn.Conv2d(1, 32, 3),
        act(),
        nn.MaxPool2d(2),
        nn.Dropout(0.25),
        nn.Conv2d(32, 64, 3),
        act(),
        nn.MaxPool2d(2),
        nn.Dropout(0.25),
        nn.Flatten(),
        nn.Linear(1600, 64),
        act(),
        nn.Dropout(0.25),
        nn.Linear(64, 10),
    )


def normalised(images: np.ndarray) -> torch.Tensor:
    """uint8 (n, 28, 28) as float32 (n, 1, 28, 28)."""
    return ((torch.from_numpy(images).float() / 255 - TRAIN_MEAN) / TRAIN_STD).unsqueeze(1)


def as_labels(labels: np.ndarray) -> torch.Tensor:
    """As cross-entropy wants them."""
    return torch.from_numpy(labels.astype(np.int64))


class ImageDataset(Dataset[tuple[torch.Tensor, int]]):
    """What `torchvision.datasets.FashionMNIST` does: a PIL image for each, then transforms."""

    def __init__(self, images: np.ndarray, labels: np.ndarray) -> None:
        from torchvision import transforms

        self._images, self._labels = images, labels
        self._transform = transforms.Compose(
            [transforms.ToTensor(), transforms.Normalize((TRAIN_MEAN,), (TRAIN_STD,))]
        )

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        from PIL import Image

        return self._transform(Image.fromarray(self._images[index])), int(self._labels[index])


def loader_with_transforms(images: np.ndarray, labels: np.ndarray, batch: int) -> Batches:
    """Batches as torchvision's tutorials make them, in the training process."""
    return DataLoader(ImageDataset(images, labels), batch_size=batch, shuffle=True)


def tensor_loader(images: np.ndarray, labels: np.ndarray, batch: int) -> DataLoader[Any]:
    """A loader over tensors that were normalised once: what a careful person writes."""
    data = TensorDataset(normalised(images), as_labels(labels))
    return DataLoader(data, batch_size=batch, shuffle=True)


def array_batches(images: np.ndarray, labels: np.ndarray, batch: int) -> Batches:
    """Slices of one shuffled array, normalised as they are taken: no loader at all."""
    whole, answers = torch.from_numpy(images).unsqueeze(1), as_labels(labels)

    class Slices:
        def __iter__(self) -> Any:
            for chosen in torch.randperm(len(answers)).split(batch):
                yield (whole[chosen].float() / 255 - TRAIN_MEAN) / TRAIN_STD, answers[chosen]

    return Slices()


def optimizer_of(model: nn.Module, config: dict[str, Any]) -> torch.optim.Optimizer:
    """torch's own, of the configuration's name and rate."""
    rate = config["learning_rate"]
    if config["optimizer"] == "sgd":
        return torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9, nesterov=True)
    return torch.optim.Adam(model.parameters(), lr=rate)


def train_epoch(model: nn.Module, optimizer: torch.optim.Optimizer, batches: Batches) -> None:
    """The loop of every tutorial."""
    model.train()
    for images, labels in batches:
        loss = functional.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


@torch.no_grad()
def accuracy(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    """Share of images whose highest logit is the label's."""
    model.eval()
    found = torch.cat([model(part).argmax(1) for part in images.split(500)])
    return float((found == labels).float().mean())


def epochs(
    model: str,
    batch: int,
    images: np.ndarray,
    labels: np.ndarray,
    batches: Callable[[np.ndarray, np.ndarray, int], Batches],
) -> Callable[[], None]:
    """What trains one epoch more, with Adam at its default rate."""
    module = plain_model(model)
    optimizer = optimizer_of(module, {"optimizer": "adam", "learning_rate": 0.001})
    source = batches(images, labels, batch)
    return lambda: train_epoch(module, optimizer, source)
