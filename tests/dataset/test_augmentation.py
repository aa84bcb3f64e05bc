import numpy as np
import pytest
import torch

from fmnist_ray.dataset.augmentation import ERASED_AREA, Augmentation, augment, augment_array
from fmnist_ray.errors import RequestError

TYPES = [torch.uint8, torch.float32, torch.bfloat16]
EVERYTHING = Augmentation(rotation_degrees=20, shift_pixels=3, flip=True, erase_probability=0.5)


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(0)
    return torch.randint(1, 256, (200, 1, 28, 28), generator=generator, dtype=torch.uint8)


def changed(images, augmentation, seed=0, fill=0.0):
    return augment(images, augmentation, np.random.default_rng(seed), fill)


@pytest.mark.parametrize("dtype", TYPES)
def test_shape_and_type_stay_and_the_seed_decides(images, dtype):
    given = images.to(dtype)
    before = given.clone()
    found = changed(given, EVERYTHING)
    assert found.shape == given.shape
    assert found.dtype == dtype
    assert torch.equal(given, before)
    assert torch.equal(found, changed(given, EVERYTHING))
    assert not torch.equal(found, changed(given, EVERYTHING, seed=1))


def test_nothing_to_change_gives_an_equal_copy(images):
    assert not Augmentation().any
    found = changed(images, Augmentation())
    assert torch.equal(found, images)
    assert found.data_ptr() != images.data_ptr()


@pytest.mark.parametrize(
    "augmentation",
    [
        Augmentation(rotation_degrees=1),
        Augmentation(shift_pixels=1),
        Augmentation(flip=True),
        Augmentation(erase_probability=0.1),
    ],
)
def test_each_amount_alone_changes_something(images, augmentation):
    assert augmentation.any
    assert not torch.equal(changed(images, augmentation), images)


def test_a_flip_mirrors_about_half_of_the_images(images):
    found = changed(images, Augmentation(flip=True))
    mirrored = [torch.equal(new, old.flip(-1)) for new, old in zip(found, images, strict=True)]
    kept = [torch.equal(new, old) for new, old in zip(found, images, strict=True)]
    assert all(a != b for a, b in zip(mirrored, kept, strict=True))
    assert 70 < sum(mirrored) < 130


@pytest.mark.parametrize("dtype", TYPES)
def test_a_shift_moves_each_image_by_whole_pixels_and_fills_the_edge(images, dtype):
    given = images.to(dtype)
    found = changed(given, Augmentation(shift_pixels=2), fill=0)
    padded = torch.nn.functional.pad(given, (2, 2, 2, 2))
    moves = set()
    for new, old in zip(found, padded, strict=True):
        fitting = [
            (top, left)
            for top in range(5)
            for left in range(5)
            if torch.equal(new, old[:, top : top + 28, left : left + 28])
        ]
        assert len(fitting) == 1
        moves.update(fitting)
    assert len(moves) == 25


def test_flip_and_shift_go_together_on_several_channels():
    images = torch.arange(3 * 2 * 5 * 7).reshape(3, 2, 5, 7)
    found = changed(images, Augmentation(flip=True, shift_pixels=1), fill=-1)
    padded = torch.nn.functional.pad(images, (1, 1, 1, 1), value=-1)
    for new, old in zip(found, padded, strict=True):
        windows = [old[:, top : top + 5, left : left + 7] for top in range(3) for left in range(3)]
        assert any(torch.equal(new, w) or torch.equal(new, w.flip(-1)) for w in windows)


def test_a_rotation_turns_about_the_centre_within_its_limit():
    # A bright bar through the centre: its angle can be read off the second moments.
    bar = torch.zeros(300, 1, 28, 28)
    bar[:, :, 13:15, 4:24] = 1
    found = changed(bar, Augmentation(rotation_degrees=30)).squeeze(1)
    position = torch.arange(28) - 13.5
    mass = found.sum((1, 2))
    centre = (found * position[:, None]).sum((1, 2)) / mass
    assert centre.abs().max() < 0.05
    xx = (found * position[None, :] ** 2).sum((1, 2))
    yy = (found * position[:, None] ** 2).sum((1, 2))
    xy = (found * position[:, None] * position[None, :]).sum((1, 2))
    degrees = torch.rad2deg(0.5 * torch.atan2(2 * xy, xx - yy))
    assert degrees.abs().max() < 30.5
    assert degrees.min() < -25
    assert degrees.max() > 25


def test_a_rotation_brings_in_the_background():
    images = torch.full((50, 1, 28, 28), 5.0)
    found = changed(images, Augmentation(rotation_degrees=45), fill=-3.0)
    assert found.min() == pytest.approx(-3.0)
    assert found[:, :, 12:16, 12:16].min() == pytest.approx(5.0)
    flat = changed(torch.full((50, 1, 28, 28), -3.0), Augmentation(rotation_degrees=45), fill=-3.0)
    assert torch.equal(flat, torch.full_like(flat, -3.0))


def test_erasing_covers_one_rectangle_of_some_images():
    images = torch.ones(8_000, 1, 28, 28)
    erased = changed(images, Augmentation(erase_probability=0.25), fill=0)[:, 0] == 0
    areas = []
    for mask in erased[erased.any(dim=(1, 2))]:
        rows, columns = mask.any(1), mask.any(0)
        assert mask.sum() == rows.sum() * columns.sum()  # a full grid ...
        for side in (rows, columns):
            where = side.nonzero().flatten()
            assert len(where) == where[-1] - where[0] + 1  # ... without gaps
        areas.append(mask.float().mean().item())
    assert 0.23 < len(areas) / 8_000 < 0.27
    assert min(areas) > ERASED_AREA[0] * 0.7  # sides are whole pixels
    assert max(areas) < ERASED_AREA[1] * 1.1
    assert np.mean(areas) == pytest.approx(sum(ERASED_AREA) / 2, rel=0.1)
    everywhere = erased.float().mean(0)
    assert everywhere.min() > 0


@pytest.mark.parametrize("fill", [0, 7])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_arrays_are_changed_as_tensors_are(images, dtype, fill):
    given = images.squeeze(1).numpy().astype(dtype)
    moved = Augmentation(shift_pixels=3, flip=True, erase_probability=0.5)
    found = augment_array(given, moved, np.random.default_rng(3), fill)
    expected = changed(torch.from_numpy(given)[:, None], moved, 3, fill).squeeze(1).numpy()
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, expected)
    turned = augment_array(given, EVERYTHING, np.random.default_rng(3), fill)
    expected = changed(torch.from_numpy(given)[:, None], EVERYTHING, 3, fill).squeeze(1).numpy()
    # The two round their coordinates differently, in the fifth digit.
    assert np.abs(turned.astype(float) - expected).max() <= 1
    assert np.array_equal(augment_array(given, Augmentation(), np.random.default_rng(0)), given)


@pytest.mark.parametrize(
    ("amounts", "message"),
    [
        ({"rotation_degrees": -1}, "rotation_degrees is -1"),
        ({"rotation_degrees": 181}, "rotation_degrees is 181"),
        ({"shift_pixels": -1}, "shift_pixels is -1"),
        ({"shift_pixels": 1.5}, "shift_pixels is 1.5"),
        ({"erase_probability": 1.1}, "erase_probability is 1.1"),
    ],
)
def test_impossible_amounts_are_refused(amounts, message):
    with pytest.raises(RequestError, match=message):
        Augmentation(**amounts)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_sees_the_same_changes(images):
    found = changed(images.cuda(), Augmentation(shift_pixels=2, flip=True, erase_probability=0.5))
    expected = changed(images, Augmentation(shift_pixels=2, flip=True, erase_probability=0.5))
    assert torch.equal(found.cpu(), expected)
    turned = changed(images.cuda().float(), EVERYTHING).cpu()
    torch.testing.assert_close(turned, changed(images.float(), EVERYTHING), atol=0.1, rtol=1e-3)
