"""The REST service: routes below `/api`, which know nothing of Ray."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import nullcontext
from typing import Any

import numpy as np
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from fmnist_ray import __version__
from fmnist_ray.app.answers import answers
from fmnist_ray.app.classified import Classified
from fmnist_ray.app.pictures import Preparation
from fmnist_ray.app.uploads import (
    MAX_BODY_BYTES,
    MAX_IMAGES,
    RefusedRequest,
    parse_images,
    read_body,
)
from fmnist_ray.dataset.arrays import CLASS_NAMES, Bytes
from fmnist_ray.errors import WorkError

Classify = Callable[[Bytes], Awaitable[Classified]]
"""Asks the model about images, uint8 (n, 28, 28)."""

Facts = Callable[[], Awaitable[Mapping[str, Any]]]
"""Asks what the model is."""

# Bodies above this size are read, and then unpacked, so many at a time.
_LARGE_BODY = 2**20
_LARGE_READ = 16
_LARGE_UNPACKED = 2
_RETRY_SECONDS = 1
_log = logging.getLogger(__name__)

_IMAGE = {"type": "string", "format": "binary"}
_BODY = {
    "requestBody": {
        "required": True,
        "description": f"At most {MAX_IMAGES:,} images and {MAX_BODY_BYTES // 2**20} MiB. Image "
        "files are PNG, JPEG, WebP, BMP or GIF, and are prepared as the data set's were; arrays "
        "are taken as they are.",
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {"image": {"type": "array", "items": _IMAGE}},
                }
            },
            "image/png": {"schema": _IMAGE},
            "image/jpeg": {"schema": _IMAGE},
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["images"],
                    "properties": {
                        "images": {
                            "type": "array",
                            "description": "Each 28 rows of 28 numbers, 0 (the ground) to 255, or "
                            "base64 of an image file.",
                            "items": {},
                        }
                    },
                },
            },
        },
    }
}
_RESPONSES: dict[int | str, dict[str, Any]] = {
    400: {"description": "The body cannot be read."},
    413: {"description": "Too many images, or too many bytes."},
    415: {"description": "The body is of another type."},
    422: {"description": "No image in the request can be used; `error` says why."},
    503: {"description": "The model is not there at the moment; send the request again."},
}


def build_api(classify: Classify, facts: Facts) -> FastAPI:
    """The application. Either argument raises `WorkError` if the model cannot be asked now."""
    app = FastAPIOffline(
        title="fmnist_ray",
        version=__version__,
        description="Labels images of clothes with the ten classes of Fashion-MNIST.",
        docs_url="/docs",
        redoc_url=None,
    )
    prepare = Preparation()
    reading, unpacking = asyncio.Semaphore(_LARGE_READ), asyncio.Semaphore(_LARGE_UNPACKED)

    @app.post("/predict", summary="Label images", openapi_extra=_BODY, responses=_RESPONSES)
    async def predict(request: Request, members: bool = False, seen: bool = False) -> JSONResponse:
        """Label one or many images.

        `predictions` has an entry for each image, in their order: `class`, `label` (0 to 9),
        `probability` and `probabilities` by class, or `error` if that image cannot be used. With
        `members=true` it tells what each member of an ensemble says, with `seen=true` the 28 x 28
        pixels that the network saw, as a data URI.
        """
        declared = request.headers.get("content-length", "")
        small = declared.isdecimal() and int(declared) <= _LARGE_BODY
        async with nullcontext() if small else reading:
            body = await read_body(request)
        async with nullcontext() if small else unpacking:
            items = await parse_images(body, request.headers)
            images, reasons = await prepare(items)
        if len(reasons) == len(items):
            raise RefusedRequest(422, _refusal(reasons))
        classified = await classify(images)
        found = answers(classified, images, reasons, members=members, seen=seen)
        return JSONResponse({"model": classified.model, "predictions": found})

    @app.get("/model", summary="What answers")
    async def model() -> JSONResponse:
        """The model that answers: its record, kind, parameters, and how good it was."""
        return JSONResponse({**await facts(), "classes": CLASS_NAMES, "version": __version__})

    @app.get("/health", summary="Whether it answers")
    async def health() -> JSONResponse:
        """Asks the model for one answer; status 503 if there is none."""
        classified = await classify(np.zeros((1, 28, 28), np.uint8))
        return JSONResponse({"status": "ok", "model": classified.model})

    add_error_answers(app)
    return app


def _refusal(reasons: Mapping[int, str]) -> str:
    first = f"The image cannot be labelled: {reasons[0]}."
    return first if len(reasons) == 1 else f"None of {len(reasons)} images can be labelled. {first}"


def add_error_answers(app: FastAPI) -> None:
    """Has every error answered as `{"error": MESSAGE}`."""

    @app.exception_handler(RefusedRequest)
    async def refused(request: Request, error: RefusedRequest) -> JSONResponse:
        return JSONResponse({"error": str(error)}, error.status)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        name, value = ".".join(map(str, first["loc"][1:])), first.get("input")
        return JSONResponse({"error": f"{name} is {value!r}. {first['msg']}."}, 422)

    @app.exception_handler(HTTPException)
    async def of_http(request: Request, error: HTTPException) -> JSONResponse:
        message = f"{request.method} {request.url.path}: {error.detail}."
        return JSONResponse({"error": message}, error.status_code, error.headers)

    @app.exception_handler(WorkError)
    async def not_there(request: Request, error: WorkError) -> JSONResponse:
        again = {"Retry-After": str(_RETRY_SECONDS)}
        return JSONResponse({"error": str(error)}, 503, again)

    @app.exception_handler(Exception)
    async def unforeseen(request: Request, error: Exception) -> JSONResponse:
        _log.error("%s %s", request.method, request.url.path, exc_info=error)
        return JSONResponse({"error": "The service failed to answer; its log says more."}, 500)
