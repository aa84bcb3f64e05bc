"""The service's parts on Ray Serve: the model, and the gateway before it."""

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import uvicorn
from ray import serve
from ray.exceptions import RayActorError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError
from ray.serve.handle import DeploymentHandle
from starlette.applications import Starlette
from starlette.routing import Mount

from fmnist_ray.app.api import build_api
from fmnist_ray.app.bundle import ModelBundle
from fmnist_ray.app.bundle_store import fetch_bundle
from fmnist_ray.app.classified import Classified
from fmnist_ray.app.guard import Guard
from fmnist_ray.app.pages import LOGIN, build_pages
from fmnist_ray.app.place import API_PREFIX, Setting, listen
from fmnist_ray.dataset.arrays import Bytes
from fmnist_ray.errors import WorkError

if TYPE_CHECKING:
    from torch import nn

# A batch is what has come in while the last one was worked on; nobody waits for more to come.
_BATCH_IMAGES = 256
_BATCH_WAIT_S = 0.0
_CONCURRENT_BATCHES = 2
_TRIES = 4
_PAUSE_S = 0.25
_PATIENCE_S = 30.0
# Each may have a body in memory.
_CONNECTIONS = 256
_DRAIN_S = 10


class Classifier:
    """The model in a process of its own.

    Ray Serve calls `reconfigure` before the first request and for each model that is rolled out.
    """

    def __init__(self) -> None:
        import torch

        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        torch.set_num_threads(1)
        self._served: tuple[ModelBundle, nn.Module] | None = None

    async def reconfigure(self, config: Mapping[str, str]) -> None:
        """Takes another model; the one that is there answers until it is loaded."""
        self._served = await asyncio.to_thread(self._load, config["model"])

    def _load(self, key: str) -> "tuple[ModelBundle, nn.Module]":
        from fmnist_ray.training.predict import predict_members

        bundle = fetch_bundle(key)
        module = bundle.load().to(self._device)
        # The first pass lays kernels out anew and takes many times as long as others.
        predict_members(module, np.zeros((1, 28, 28), np.uint8), device=self._device)
        return bundle, module

    def _current(self) -> "tuple[ModelBundle, nn.Module]":
        assert self._served is not None  # Ray Serve has called `reconfigure`
        return self._served

    def classify(self, images: Bytes) -> Classified:
        """What the model says of images, uint8 (n, 28, 28)."""
        from fmnist_ray.training.predict import predict_members

        bundle, module = self._current()
        probability = predict_members(module, images, device=self._device)
        return Classified(bundle.name, bundle.members, probability)

    def facts(self) -> Mapping[str, Any]:
        """What people are told of the model."""
        return self._current()[0].facts


class Gateway:
    """Answers HTTP: the pages and the REST service, which asks the model in batches.

    It listens itself, in its own process. Through Ray Serve's HTTP proxy an answer took 10.5 ms of
    processor time, two thirds of it in the proxy and in handing requests on; Ray Serve looks after
    this process as after any other, and starts it again if it dies.

    Args:
        classifier: Handle of the model's deployment.
        setting: Where to listen, whom to let in, and which records to show.
    """

    async def __init__(  # type: ignore[misc]
        self, classifier: DeploymentHandle, setting: Setting
    ) -> None:
        self._classifier, self._setting = classifier, setting
        place = setting.place
        app = Starlette(
            routes=[
                Mount(API_PREFIX, build_api(self._classify, self._facts)),
                Mount("/", build_pages(setting.results)),
            ]
        )
        self._server = uvicorn.Server(
            uvicorn.Config(
                Guard(app, place.access, LOGIN, API_PREFIX),
                log_level="warning",
                access_log=False,
                server_header=False,
                limit_concurrency=_CONNECTIONS,
                timeout_graceful_shutdown=_DRAIN_S,
            )
        )
        listening = listen(place)
        self._serving = asyncio.create_task(self._server.serve([listening]))

    def check_health(self) -> None:
        """Has Ray Serve start another process if this one listens no more."""
        if self._serving.done():
            raise RuntimeError("the HTTP server has ended")

    async def __del__(self) -> None:
        self._server.should_exit = True
        await self._serving

    def setting(self) -> Setting:
        """What it was started with; whoever rolls out another model asks."""
        return self._setting

    async def _facts(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = await self._asked("facts")
        return found

    async def _classify(self, images: Bytes) -> Classified:
        """As many batches as it takes, all by one model."""
        while True:
            cuts = range(0, len(images), _BATCH_IMAGES)
            parts: list[Classified] = await asyncio.gather(
                *(self._batched(images[start : start + _BATCH_IMAGES]) for start in cuts)
            )
            model, members, _ = parts[0]
            if all((part.model, part.members) == (model, members) for part in parts):
                probability = np.concatenate([part.probability for part in parts], axis=1)
                return Classified(model, members, probability)

    @serve.batch(  # type: ignore[untyped-decorator]
        max_batch_size=_BATCH_IMAGES,
        batch_wait_timeout_s=_BATCH_WAIT_S,
        max_concurrent_batches=_CONCURRENT_BATCHES,
        batch_size_fn=lambda parts: sum(len(part) for part in parts),
    )
    async def _batched(self, parts: list[Bytes]) -> list[Classified]:
        """One call of the model for the images of several requests."""
        model, members, probability = await self._asked("classify", np.concatenate(parts))
        ends = np.cumsum([len(part) for part in parts])[:-1]
        return [Classified(model, members, part) for part in np.split(probability, ends, axis=1)]

    async def _asked(self, method: str, *arguments: Any) -> Any:
        """Asks again if a replica of the model dies over it: an answer changes nothing."""
        trouble: Exception | None = None
        for tried in range(_TRIES):
            try:
                async with asyncio.timeout(_PATIENCE_S):
                    return await getattr(self._classifier, method).remote(*arguments)
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
