"""Finding image files, and refusing what is none, is broken, or too large."""

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fmnist_ray.dataset import image_files
from fmnist_ray.dataset.image_files import PhotographError, find_images, opened_image
from fmnist_ray.dataset.sources import load_dataset
from fmnist_ray.errors import RequestError


def save(path: Path, image: int = 0, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    grey = Image.fromarray(load_dataset("sample").test.images[image])
    grey.resize((200, 150)).save(path, **options)
    return path


def load(path: Path) -> None:
    with opened_image(path) as image:
        image.load()


def test_folders_give_their_images_sorted_and_each_file_comes_once(tmp_path: Path) -> None:
    named = save(tmp_path / "z" / "b.JPG")
    for name in ("a.png", "c/d.webp", ".hidden/e.png", "._a.png", "notes.txt"):
        save(tmp_path / "z" / name, format="PNG")
    other = save(tmp_path / "picture-without-a-suffix", format="PNG")
    found = find_images([named, tmp_path / "z", other])
    assert found == [named, tmp_path / "z/a.png", tmp_path / "z/c/d.webp", other]


def test_a_path_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"nowhere\.png does not exist\. Name image files"):
        find_images([save(tmp_path / "a.png"), tmp_path / "nowhere.png"])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"hello", "no PNG, JPEG, WebP, BMP or GIF"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no PNG, JPEG"),
    ],
)
def test_what_is_no_image_is_refused(content: bytes, reason: str, tmp_path: Path) -> None:
    (tmp_path / "file.png").write_bytes(content)
    with pytest.raises(PhotographError, match=reason):
        load(tmp_path / "file.png")


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "gif", "webp"])
def test_a_cut_or_changed_image_is_damaged_or_read_and_nothing_else(
    suffix: str, tmp_path: Path
) -> None:
    whole = save(tmp_path / f"whole.{suffix}").read_bytes()
    broken, refused = tmp_path / "broken", 0
    draw = np.random.default_rng(0)
    for length in draw.integers(1, len(whole), 40):
        broken.write_bytes(whole[:length])
        with pytest.raises(PhotographError, match=r"damaged|no PNG"):
            load(broken)
    # Half of them in what stands before the pixels, which no format can do without.
    for place in [*draw.integers(0, len(whole), 40), *draw.integers(0, 40, 40)]:
        changed = bytearray(whole)
        changed[place] ^= 0xFF
        broken.write_bytes(bytes(changed))
        try:
            load(broken)
        except PhotographError:
            refused += 1
    assert refused


def _chunk(kind: bytes, content: bytes) -> bytes:
    body = kind + content
    return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))


@pytest.mark.parametrize("side", [10_000, 14_000, 60_000])
def test_a_decompression_bomb_is_refused_before_it_is_unpacked(side: int, tmp_path: Path) -> None:
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    content = _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(b"")) + _chunk(b"IEND", b"")
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    with pytest.raises(PhotographError, match=r"pixels; at most 80,000,000"):
        load(tmp_path / "bomb.png")


def test_a_large_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "a.png")
    monkeypatch.setattr(image_files, "MAX_FILE_BYTES", 2**10)
    with pytest.raises(PhotographError, match="larger than"):
        load(path)


def test_pipes_folders_and_missing_files_are_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(PhotographError, match="no ordinary file"):
        load(tmp_path / "pipe.png")
    (tmp_path / "link.png").symlink_to(tmp_path / "gone.png")
    assert tmp_path / "link.png" in find_images([tmp_path])
    for name in ("link.png", "."):
        with pytest.raises(PhotographError, match="cannot be read"):
            load(tmp_path / name)
