"""The images in a request, with bounds on everything that a client can choose."""

import asyncio
import base64
import binascii
import json
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import numpy as np
from starlette.datastructures import Headers
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from fmnist_ray.dataset.arrays import IMAGE_SIZE, Bytes

MAX_BODY_BYTES = 16 * 2**20
MAX_IMAGES = 1000
"""Of one request; more go into several requests, or to `fmnist predict FOLDER`."""

# A body that is too large is read and thrown away up to here, since many clients see an answer
# only after they have sent all of it; from there on the connection is cut.
_DRAINED_BYTES = 16 * MAX_BODY_BYTES
_READ_SECONDS = 60.0
_DRAIN_SECONDS = 20.0
_TOO_MANY = (
    f"There are more than {MAX_IMAGES:,} images in one request. Send them in several, or label a "
    "folder with `fmnist predict FOLDER`."
)
_HOW = (
    "Send an image file as multipart/form-data or as the body with its own type such as image/png, "
    'or JSON: {"images": [...]} with images of 28 x 28 numbers or base64 of image files.'
)

Item = bytes | Bytes
"""The content of an image file, or an image as the network takes it, uint8 (28, 28)."""


class RefusedRequest(Exception):
    """A request is wrong; the message says what to change.

    Args:
        status: Of HTTP, 4xx.
        message: For the client to read.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


async def read_body(request: Request) -> bytes:
    """Reads a body.

    Raises:
        RefusedRequest: It is too large or too slow.
    """
    return b"".join([part async for part in _bounded(request)])


async def parse_images(body: bytes, headers: Headers) -> list[Item]:
    """Finds the images in a body, none of them unpacked.

    Names of files are not looked at, and nothing touches the disk.

    Raises:
        RefusedRequest: There are too many or none, or the body is of no form that is known here.
    """
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        items: list[Item] = list(await _parse_form(body, headers))
    elif kind == "application/json":
        items = _parse_json(body)
    elif kind.startswith("image/") or kind == "application/octet-stream":
        items = [body]
    else:
        raise RefusedRequest(415, f"The body's type is {kind or 'not given'}. {_HOW}")
    if not items:
        raise RefusedRequest(422, f"There is no image in the request. {_HOW}")
    return items


async def _parse_form(body: bytes, headers: Headers) -> list[bytes]:
    async def whole() -> AsyncGenerator[bytes]:
        yield body

    parser = MultiPartParser(headers, whole(), max_files=MAX_IMAGES)
    parser.spool_max_size = MAX_BODY_BYTES  # never onto the disk
    try:
        form = await parser.parse()
    except MultiPartException as error:
        if error.message.startswith("Too many files"):
            raise RefusedRequest(413, _TOO_MANY) from None
        raise RefusedRequest(400, f"The form cannot be read: {error.message} {_HOW}") from None
    except (KeyError, ValueError) as error:  # no boundary, or none that can be
        raise RefusedRequest(400, f"The form cannot be read: {error!r}. {_HOW}") from None
    try:
        return [await each.read() for _, each in form.multi_items() if not isinstance(each, str)]
    finally:
        await form.close()


async def _bounded(request: Request) -> AsyncIterator[bytes]:
    """The body's parts, as long as they are not too many and come in time."""
    declared = request.headers.get("content-length", "")
    stream = request.stream()
    size = 0
    try:
        async with asyncio.timeout(_READ_SECONDS):
            if not declared.isdecimal() or int(declared) <= MAX_BODY_BYTES:
                async for part in stream:
                    size += len(part)
                    if size > MAX_BODY_BYTES:
                        break
                    yield part
                else:
                    return
    except TimeoutError:
        raise RefusedRequest(
            408, f"The body did not arrive within {_READ_SECONDS:.0f} s. Send it again."
        ) from None
    except ClientDisconnect:
        raise RefusedRequest(400, "The connection was closed before the body was whole.") from None
    await _drain(stream)
    raise RefusedRequest(
        413,
        f"The body is larger than {MAX_BODY_BYTES // 2**20} MiB. Send fewer images in a request, "
        "or smaller ones: the network sees 28 x 28 pixels.",
    )


async def _drain(stream: AsyncIterator[bytes]) -> None:
    size = 0
    try:
        async with asyncio.timeout(_DRAIN_SECONDS):
            async for part in stream:
                size += len(part)
                if size > _DRAINED_BYTES:
                    return
    except (TimeoutError, ClientDisconnect):
        return


def _parse_json(body: bytes) -> list[Item]:
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RefusedRequest(400, f"The body is no JSON: {error}. {_HOW}") from None
    images = content.get("images") if isinstance(content, dict) else None
    if not isinstance(images, list):
        raise RefusedRequest(422, f"The JSON has no list of images. {_HOW}")
    if len(images) > MAX_IMAGES:
        raise RefusedRequest(413, _TOO_MANY)
    return [_json_image(place, image) for place, image in enumerate(images)]


def _json_image(place: int, image: Any) -> Item:
    if isinstance(image, str):
        text = image.partition(",")[2] if image.startswith("data:") else image
        try:
            return base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raise RefusedRequest(422, f"images[{place}] is no base64 of an image file.") from None
    try:
        values = np.array(image)
    except (ValueError, RecursionError):
        values = np.zeros(0)
    if values.shape != (IMAGE_SIZE, IMAGE_SIZE) or values.dtype.kind not in "iuf":
        found = " x ".join(map(str, values.shape)) if values.dtype.kind in "iuf" else "no numbers"
        raise RefusedRequest(
            422,
            f"images[{place}] is {found or 'a number'}. Each image has {IMAGE_SIZE} rows of "
            f"{IMAGE_SIZE} whole numbers from 0 (the ground) to 255, or is base64 of an image file.",
        )
    if not (np.isfinite(values).all() and (values == np.floor(values)).all()):
        raise RefusedRequest(
            422,
            f"images[{place}] has values that are no whole numbers: multiply those by 255 first.",
        )
    if values.min() < 0 or values.max() > 255:
        raise RefusedRequest(
            422,
            f"images[{place}] has values from {values.min():.0f} to {values.max():.0f}; they must "
            "be from 0 (the ground) to 255.",
        )
    return np.ascontiguousarray(values, np.uint8)
