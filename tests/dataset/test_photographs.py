"""Photographs made of real images: brought back to what they were made of."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fmnist_ray.dataset.arrays import Bytes
from fmnist_ray.dataset.class_folders import write_class_folders
from fmnist_ray.dataset.image_files import PhotographError, find_images
from fmnist_ray.dataset.photographs import from_colours, read_photograph, read_thumbnail
from fmnist_ray.dataset.sources import load_dataset
from fmnist_ray.models.storage import load_model
from fmnist_ray.pretrained import PRETRAINED_FOLDER
from fmnist_ray.training.predict import predict

TEST = load_dataset("sample").test
COUNT = 200
SCALE = 10
Ground = tuple[float, float, float]


def place(image: Bytes, at: tuple[int, int] = (60, 130)) -> np.ndarray:
    """An image ten times as large, somewhere in a dark frame of 400 x 500: (400, 500), 0 to 1."""
    large = Image.fromarray(image).resize((28 * SCALE, 28 * SCALE), Image.Resampling.BICUBIC)
    frame = np.zeros((400, 500), np.float32)
    frame[at[0] : at[0] + 28 * SCALE, at[1] : at[1] + 28 * SCALE] = np.asarray(large) / 255
    return frame


def on_paper(image: Bytes, ground: Ground = (1, 1, 1)) -> np.ndarray:
    """Like a print on coloured paper: the item dark on light, (400, 500, 3), 0 to 1."""
    return np.array(ground, np.float32) * (1 - place(image)[:, :, None])


def on_cloth(image: Bytes, ground: Ground) -> np.ndarray:
    """The item lies on coloured cloth, which is not seen through it."""
    item = place(image)[:, :, None]
    opaque = (item / 0.08).clip(0, 1)
    return np.array(ground, np.float32) * (1 - opaque) + (1 - item) * opaque


def encode(picture: np.ndarray, form: str = "JPEG", **options: object) -> bytes:
    content = io.BytesIO()
    pixels = np.rint(picture.clip(0, 1) * 255).astype(np.uint8)
    Image.fromarray(pixels).save(content, form, **options)
    return content.getvalue()


def photograph(kind: str, image: Bytes, draw: np.random.Generator) -> bytes:
    shape = (400, 500, 1)
    across = np.linspace(0, 1, 500, dtype=np.float32)[None, :, None]
    match kind:
        case "white":
            return encode(on_paper(image))
        case "black":
            return encode(1 - on_paper(image))
        case "coloured":
            return encode(on_paper(image, (0.75, 0.55, 0.35)))
        case "cloth":
            return encode(on_cloth(image, (0.8, 0.8, 0.8)))
        case "uneven light":
            return encode(on_paper(image, (0.95, 0.95, 0.95)) * (1 - 0.3 * across))
        case "textured":
            return encode(on_paper(image, (0.9, 0.85, 0.8)) + draw.normal(0, 0.08, shape))
        case "pale":
            return encode(0.5 + 0.25 * on_paper(image))
        case "transparent":
            item = place(image)[:, :, None]
            layers = np.concatenate([np.zeros((*shape[:2], 3), np.float32), item], axis=2)
            return encode(layers, "PNG")
        case "rotated":
            rotation = Image.Exif()
            rotation[0x0112] = 6  # a camera held upright: to be turned by 90 degrees clockwise
            return encode(np.rot90(on_paper(image)), exif=rotation)
    raise AssertionError(kind)


# The share that the shipped model gets right on photographs of 200 images, as measured, less 0.04.
# On the images themselves it is 0.88.
FLOORS = {
    "white": 0.825,
    "black": 0.82,
    "coloured": 0.82,
    "cloth": 0.79,
    "uneven light": 0.82,
    "textured": 0.83,
    "pale": 0.84,
    "transparent": 0.82,
    "rotated": 0.825,
}


@pytest.mark.parametrize("kind", FLOORS)
def test_the_model_knows_items_in_photographs(kind: str, tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    path = tmp_path / "photograph"
    seen = []
    for image in TEST.images[:COUNT]:
        path.write_bytes(photograph(kind, image, draw))
        seen.append(read_photograph(path))
    module, _ = load_model(PRETRAINED_FOLDER)
    right = predict(module, np.stack(seen)).argmax(1) == TEST.labels[:COUNT]
    assert right.mean() >= FLOORS[kind]


def test_images_of_the_data_set_are_taken_pixel_for_pixel(tmp_path: Path) -> None:
    dataset = load_dataset("sample")
    write_class_folders(dataset, tmp_path)
    files = find_images([tmp_path / "test"])
    numbers = [int(path.stem) for path in files]
    assert sorted(numbers) == list(range(500))
    for number, path in zip(numbers, files, strict=True):
        assert np.array_equal(read_photograph(path), TEST.images[number])


@pytest.mark.full_data
def test_so_are_all_of_them() -> None:
    from fmnist_ray.dataset.photographs import _already_small

    dataset = load_dataset()
    for image in (*dataset.train.images, *dataset.test.images):
        assert _already_small(Image.fromarray(image)) is not None


@pytest.mark.parametrize("mode", ["RGB", "P", "RGBA", "LA", "1"])
def test_grey_is_told_by_the_pixels_and_not_by_the_mode(mode: str, tmp_path: Path) -> None:
    image = Image.fromarray(TEST.images[3])
    image.convert(mode).save(tmp_path / "image.png")
    found = read_photograph(tmp_path / "image.png")
    if mode == "1":  # black and white alone: another picture
        assert found.shape == (28, 28)
    else:
        assert np.array_equal(found, TEST.images[3])


def test_small_images_with_a_light_border_are_photographs(tmp_path: Path) -> None:
    Image.fromarray(255 - TEST.images[3]).save(tmp_path / "light.png")
    found = read_photograph(tmp_path / "light.png")
    assert not np.array_equal(found, 255 - TEST.images[3])
    assert found[[0, 0, -1, -1], [0, -1, 0, -1]].max() < 64
    alike = np.corrcoef(found.ravel(), TEST.images[3].ravel())[0, 1]
    assert alike > 0.9


def test_steps_are_those_of_the_data_sets_authors() -> None:
    colours = np.ones((300, 400, 3), np.float32)
    colours[100:212, 50:106] = 0.0  # black, 112 high and 56 wide: 28 x 14 in the end
    seen = from_colours(colours)
    assert seen.shape == (28, 28)
    assert seen.dtype == np.uint8
    assert (seen[:, 7:21] == 255).all()
    assert (seen[:, :7] == 0).all()
    assert (seen[:, 21:] == 0).all()


def test_sharpening_moves_a_step_apart_and_keeps_flat_areas() -> None:
    colours = np.ones((300, 300, 3), np.float32)
    colours[10:290, 10:290] = 0.6
    colours[10:290, 150:290] = 0.3
    row = from_colours(colours)[14]
    assert abs(int(row[7]) - round(0.4 * 255)) <= 2
    assert abs(int(row[21]) - round(0.7 * 255)) <= 2
    assert row.min() < 0.38 * 255
    assert row.max() > 0.72 * 255


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_a_picture_of_nothing_is_refused(value: float) -> None:
    with pytest.raises(PhotographError, match="nothing in it stands out"):
        from_colours(np.full((200, 300, 3), value, np.float32))


def test_specks_are_no_item() -> None:
    colours = on_paper(TEST.images[0])
    clean = from_colours(colours)
    colours[5, 5] = colours[390, 490] = 0
    assert np.array_equal(from_colours(colours), clean)


def test_an_item_that_leaves_the_picture_is_no_ground() -> None:
    colours = on_paper(TEST.images[0])[: 60 + 14 * SCALE]
    item = from_colours(colours)
    assert item.max() > 200
    assert np.median([item[0, 0], item[0, -1], item[-1, 0], item[-1, -1]]) < 32


@pytest.mark.parametrize("size", [(1, 300), (300, 1), (3, 3), (28, 28), (30, 1000)])
def test_odd_sizes_are_read_or_refused(size: tuple[int, int], tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    pixels = draw.integers(0, 256, (*size, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "odd.png")
    try:
        seen = read_photograph(tmp_path / "odd.png")
    except PhotographError:
        return  # too thin for anything to stand out
    assert seen.shape == (28, 28)


def test_sixteen_bits_keep_their_highest(tmp_path: Path) -> None:
    grey = np.rint((1 - place(TEST.images[0])) * 65535).astype(np.uint16)
    Image.fromarray(grey).save(tmp_path / "deep.png")
    Image.fromarray((grey >> 8).astype(np.uint8)).save(tmp_path / "plain.png")
    deep, plain = (read_photograph(tmp_path / name) for name in ("deep.png", "plain.png"))
    assert np.array_equal(deep, plain)


@pytest.mark.parametrize("form", ["PNG", "BMP", "GIF", "WEBP"])
def test_formats_give_the_same_picture(form: str, tmp_path: Path) -> None:
    grey = on_paper(TEST.images[0])[:, :, 0]
    options = {"lossless": True} if form == "WEBP" else {}
    (tmp_path / "image").write_bytes(encode(grey, form, **options))
    expected = from_colours(np.rint(grey * 255)[:, :, None].repeat(3, 2) / np.float32(255))
    alike = np.corrcoef(read_photograph(tmp_path / "image").ravel(), expected.ravel())[0, 1]
    assert alike > 0.97


def test_a_printed_picture_in_cmyk_is_read(tmp_path: Path) -> None:
    picture = Image.fromarray(np.rint(on_paper(TEST.images[0]) * 255).astype(np.uint8))
    picture.convert("CMYK").save(tmp_path / "print.jpg")
    assert read_photograph(tmp_path / "print.jpg").max() > 200


def test_white_things_without_a_ground_are_laid_on_black(tmp_path: Path) -> None:
    layers = np.ones((200, 200, 4), np.float32)
    layers[:, :, 3] = 0
    layers[50:150, 80:120, 3] = 1
    (tmp_path / "white.png").write_bytes(encode(layers, "PNG"))
    seen = read_photograph(tmp_path / "white.png")
    assert seen[14, 14] == 255
    assert seen[14, 0] == 0


def test_a_thumbnail_is_upright_small_and_in_colour(tmp_path: Path) -> None:
    rotation = Image.Exif()
    rotation[0x0112] = 6
    picture = on_paper(TEST.images[0], (0.9, 0.5, 0.2))
    (tmp_path / "photo.jpg").write_bytes(encode(np.rot90(picture), exif=rotation))
    found = read_thumbnail(tmp_path / "photo.jpg", 100)
    assert found.shape == (80, 100, 3)
    assert np.allclose(found[0, 0] / 255, (0.9, 0.5, 0.2), atol=0.03)
