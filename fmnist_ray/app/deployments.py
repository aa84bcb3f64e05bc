"""The service's parts on Ray Serve: the model, and what stands before it."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ray import serve
from ray.exceptions import RayActorError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError
from ray.serve.handle import DeploymentHandle
from starlette.types import ASGIApp

from fmnist_ray.app.answers import Probabilities
from fmnist_ray.app.api import build_api
from fmnist_ray.app.bundle import ModelBundle
from fmnist_ray.app.guard import Access, Guard
from fmnist_ray.app.pages import LOGIN, build_pages
from fmnist_ray.app.place import Place
from fmnist_ray.dataset.arrays import Bytes
from fmnist_ray.errors import WorkError

# A batch is what has come in while the last one was worked on; nobody waits for more to come.
_BATCH_IMAGES = 256
_BATCH_WAIT_S = 0.0
_CONCURRENT_BATCHES = 2
_TRIES = 4
_PAUSE_S = 0.25
_PATIENCE_S = 30.0


class Classifier:
    """The model in a process of its own.

    Args:
        bundle: The model.
    """

    def __init__(self, bundle: ModelBundle) -> None:
        import torch

        from fmnist_ray.training.predict import predict_members

        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        torch.set_num_threads(1)
        self._module = bundle.load().to(self._device)
        # The first pass lays kernels out anew and takes many times as long as others.
        predict_members(self._module, np.zeros((1, 28, 28), np.uint8), device=self._device)

    def classify(self, images: Bytes) -> Probabilities:
        """What each member says of images: float32 (members, n, 10)."""
        from fmnist_ray.training.predict import predict_members

        return predict_members(self._module, images, device=self._device)


class Pages:
    """The pages, on the node whose results folder they show.

    Args:
        results: The folder.
        place: Where the service is reached.
    """

    def __init__(self, results: Path, place: Place) -> None:
        self._results, self._place = results, place

    def __serve_build_asgi_app__(self) -> ASGIApp:
        return Guard(build_pages(self._results), self._place.access, LOGIN)

    def place(self) -> Place:
        """Where the service is reached; what rolls out another model asks."""
        return self._place


class Api:
    """Reads requests, gathers their images into batches, and asks the model.

    Args:
        classifier: Handle of the model's deployment.
        facts: What to tell of the model.
        access: Who may ask.
    """

    def __init__(
        self, classifier: DeploymentHandle, facts: Mapping[str, Any], access: Access
    ) -> None:
        self._classifier, self._facts, self._access = classifier, facts, access

    def __serve_build_asgi_app__(self) -> ASGIApp:
        return Guard(build_api(self._classify, self._facts), self._access)

    async def _classify(self, images: Bytes) -> Probabilities:
        """As many batches as it takes: float32 (members, n, 10)."""
        cuts = range(0, len(images), _BATCH_IMAGES)
        parts = [self._ask(images[start : start + _BATCH_IMAGES]) for start in cuts]
        return np.concatenate(await asyncio.gather(*parts), axis=1)

    @serve.batch(  # type: ignore[untyped-decorator]
        max_batch_size=_BATCH_IMAGES,
        batch_wait_timeout_s=_BATCH_WAIT_S,
        max_concurrent_batches=_CONCURRENT_BATCHES,
        batch_size_fn=lambda parts: sum(len(part) for part in parts),
    )
    async def _ask(self, parts: list[Bytes]) -> list[Probabilities]:
        """One call of the model for the images of several requests."""
        probability = await self._reached(np.concatenate(parts))
        ends = np.cumsum([len(part) for part in parts])[:-1]
        return np.split(probability, ends, axis=1)

    async def _reached(self, images: Bytes) -> Probabilities:
        """Asks again if a replica of the model dies over it: an answer changes nothing."""
        trouble: Exception | None = None
        for tried in range(_TRIES):
            try:
                async with asyncio.timeout(_PATIENCE_S):
                    found: Probabilities = await self._classifier.classify.remote(images)
                    return found
            except (
                RayActorError,
                BackPressureError,
                DeploymentUnavailableError,
                TimeoutError,
            ) as error:
                trouble = error
                await asyncio.sleep(_PAUSE_S * 2**tried)
        raise WorkError(
            f"The model cannot be reached ({type(trouble).__name__}). Send the request again."
        ) from trouble
