"""Brings the images of a request into the form that the network takes, beside the event loop."""

import asyncio
import base64
import io
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import numpy as np

from fmnist_ray.app.uploads import Item
from fmnist_ray.dataset.arrays import IMAGE_SIZE, Bytes
from fmnist_ray.dataset.image_files import PhotographError, opened_image
from fmnist_ray.dataset.photographs import read_photograph

# Of one request at a time, so that a long one lets others in between.
_TURN = 8
_THREADS = 2
# Above this many pixels images are unpacked one at a time: they take up to 8 bytes for each.
_LARGE_PIXELS = 8_000_000
# Up to this many, an image is unpacked in less time than another thread takes to begin.
_SMALL_PIXELS = 64 * 64


class Preparation:
    """Prepares images in threads of its own."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="prepare")
        self._large = threading.Lock()

    async def __call__(self, items: Sequence[Item]) -> tuple[Bytes, dict[int, str]]:
        """Prepares the images of one request.

        Returns:
            uint8 (n, 28, 28), black where an image cannot be used, and the reasons for that by
            the images' places.
        """
        if len(items) <= _TURN and all(_is_small(item) for item in items):
            return _prepare(items, read_photograph)
        loop = asyncio.get_running_loop()
        parts: list[Bytes] = []
        reasons: dict[int, str] = {}
        for start in range(0, len(items), _TURN):
            turn = items[start : start + _TURN]
            images, why = await loop.run_in_executor(self._threads, _prepare, turn, self._read)
            parts.append(images)
            reasons |= {start + place: reason for place, reason in why.items()}
        return np.concatenate(parts), reasons

    def _read(self, content: bytes) -> Bytes:
        with self._large if _pixels(content) > _LARGE_PIXELS else nullcontext():
            return read_photograph(content)


def _prepare(items: Sequence[Item], read: Callable[[bytes], Bytes]) -> tuple[Bytes, dict[int, str]]:
    images = np.zeros((len(items), IMAGE_SIZE, IMAGE_SIZE), np.uint8)
    reasons = {}
    for place, item in enumerate(items):
        try:
            images[place] = read(item) if isinstance(item, bytes) else item
        except PhotographError as error:
            reasons[place] = str(error)
    return images, reasons


def _is_small(item: Item) -> bool:
    try:
        return not isinstance(item, bytes) or _pixels(item) <= _SMALL_PIXELS
    except PhotographError:
        return False


def _pixels(content: bytes) -> int:
    """What the header claims."""
    with opened_image(content) as image:
        return image.width * image.height


def as_data_uri(image: Bytes) -> str:
    """A 28 x 28 image as the `src` of an `<img>`."""
    from PIL import Image

    packed = io.BytesIO()
    Image.fromarray(image).save(packed, "PNG")
    return "data:image/png;base64," + base64.b64encode(packed.getvalue()).decode()
