"""One folder per class: `train/0..9/*.png`, `test/0..9/*.png`, and `validation/0..9` if there.

Where every file of a split is named by a number, as the export names them, the images come in the
order of these numbers, so that exporting and reading gives the same arrays. Other names come
class by class, sorted by name.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from fmnist_ray.dataset.arrays import CLASS_NAMES, IMAGE_SIZE, Bytes, Dataset, Split
from fmnist_ray.dataset.progress import Progress, no_progress
from fmnist_ray.errors import RequestError

if TYPE_CHECKING:
    from PIL import Image

SPLITS = ("train", "test", "validation")
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp")

_FORMATS = ("PNG", "JPEG", "BMP")
_IGNORED = ("thumbs.db", "desktop.ini")  # and hidden files: what file managers leave behind
_EXPECTED = "train/0..9 and test/0..9, each with at least one image, are needed"


def read_class_folders(folder: Path, progress: Progress = no_progress) -> Dataset:
    """Reads every image below `train`, `test` and, if it is there, `validation`.

    Args:
        folder: Holds these folders.
        progress: Told the images read so far.

    Raises:
        RequestError: A class has no folder or no image, there is a folder that is no class, or a
            file is no image, not grey, or not 28 x 28; the message names it.
    """
    names = [name for name in SPLITS if name != "validation" or (folder / name).is_dir()]
    files = {name: _list_split(folder / name) for name in names}
    total = sum(len(listed) for listed in files.values())
    done = 0
    splits = {}
    for name, listed in files.items():
        images = np.empty((len(listed), IMAGE_SIZE, IMAGE_SIZE), dtype=np.uint8)
        for index, (path, _) in enumerate(listed):
            images[index] = read_image(path)
            done += 1
            if done % 100 == 0 or done == total:
                progress(done, total)
        splits[name] = Split(images, np.array([label for _, label in listed], dtype=np.uint8))
    return Dataset(
        splits["train"], splits["test"], f"class folders in {folder}", splits.get("validation")
    )


def write_class_folders(
    dataset: Dataset,
    folder: Path,
    progress: Progress = no_progress,
    numbers: dict[str, npt.NDArray[np.int64]] | None = None,
) -> None:
    """Writes every image as a PNG into the folder of its split and class.

    Args:
        dataset: What to write.
        folder: Is there, and holds no images yet.
        progress: Told the images written so far.
        numbers: For each split, the numbers that its files are named by, rising; by default
            their indices.
    """
    from PIL import Image

    total = sum(len(split) for split in dataset.splits().values())
    done = 0
    for name, split in dataset.splits().items():
        targets = [folder / name / str(label) for label in range(len(CLASS_NAMES))]
        for target in targets:
            target.mkdir(parents=True)
        named = np.arange(len(split)) if numbers is None else numbers[name]
        digits = len(str(max(named)))
        for image, label, number in zip(split.images, split.labels, named, strict=True):
            # The lightest compression: images this small hardly gain from more.
            Image.fromarray(image).save(
                targets[label] / f"{number:0{digits}}.png", compress_level=1
            )
            done += 1
            if done % 100 == 0 or done == total:
                progress(done, total)


def read_image(path: Path) -> Bytes:
    """Reads one grey image of 28 x 28 pixels.

    Colour files are taken if they hold nothing but shades of grey.

    Returns:
        uint8, shape (28, 28).

    Raises:
        RequestError: The file is no image, of another size, or in colour.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        # Opening reads the header alone, so a huge image is refused before it is unpacked.
        with Image.open(path, formats=_FORMATS) as image:
            if image.size != (IMAGE_SIZE, IMAGE_SIZE):
                raise RequestError(
                    f"{path} is {image.width} x {image.height} pixels, but "
                    f"{IMAGE_SIZE} x {IMAGE_SIZE} is needed. Resize or remove it."
                )
            return _grey(image, path)
    except (
        UnidentifiedImageError,
        Image.DecompressionBombError,
        OSError,
        SyntaxError,  # what Pillow raises for a broken PNG
        ValueError,
    ) as error:
        raise RequestError(
            f"{path} cannot be read as an image ({error}). Replace or remove it."
        ) from error


def _grey(image: "Image.Image", path: Path) -> Bytes:
    if image.mode in ("L", "1"):
        return np.asarray(image.convert("L"))
    if image.mode in ("P", "RGB", "RGBA", "LA"):
        pixels: Bytes = np.asarray(image.convert("RGBA"))
        red = pixels[:, :, :1]
        if (pixels[:, :, 1:3] == red).all() and (pixels[:, :, 3] == 255).all():
            return red[:, :, 0]
    raise RequestError(
        f"{path} is not a grey image of 8 bits (its mode is {image.mode}). Convert it to shades "
        "of grey, or remove it."
    )


def _list_split(folder: Path) -> list[tuple[Path, int]]:
    """The image files with their labels, in the order in which they are read."""
    if not folder.is_dir():
        raise RequestError(f"{folder} is missing: {_EXPECTED}.")
    labels = {str(label): label for label in range(len(CLASS_NAMES))}
    others = sorted(
        entry.name for entry in folder.iterdir() if entry.is_dir() and entry.name not in labels
    )
    others = [name for name in others if not name.startswith(".")]
    if others:
        raise RequestError(
            f"{folder / others[0]} is none of the classes 0..{len(labels) - 1}. Rename or "
            "remove it."
        )
    listed: list[tuple[Path, int]] = []
    for name, label in labels.items():
        if not (folder / name).is_dir():
            raise RequestError(f"{folder} lacks the class folder {name}: {_EXPECTED}.")
        of_class = [
            path
            for path in sorted((folder / name).iterdir())
            if not path.name.startswith(".") and path.name.lower() not in _IGNORED
        ]
        if not of_class:
            raise RequestError(f"{folder / name} holds no images: {_EXPECTED}.")
        for path in of_class:
            if path.suffix.lower() not in SUFFIXES:
                raise RequestError(
                    f"{path} is no image file ({', '.join(SUFFIXES)}). Convert or remove it."
                )
            listed.append((path, label))
    if all(path.stem.isdecimal() for path, _ in listed):
        listed.sort(key=lambda item: int(item[0].stem))
    return listed
