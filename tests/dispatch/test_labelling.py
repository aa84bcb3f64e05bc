"""Labelling files here and by Ray Data: the same bits, in the files' order, whatever is in them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fmnist_ray.dataset.class_folders import write_class_folders
from fmnist_ray.dataset.image_files import find_images
from fmnist_ray.dataset.sources import load_dataset
from fmnist_ray.dispatch import labelling
from fmnist_ray.dispatch.labelling import label_files, label_with_ray, worth_ray
from fmnist_ray.dispatch.labels import chunks, label_here
from fmnist_ray.errors import RequestError, WorkError
from fmnist_ray.models.config import ModelConfig
from fmnist_ray.models.storage import load_model, save_model
from fmnist_ray.models.torch_models import build_model
from fmnist_ray.pretrained import PRETRAINED_FOLDER
from fmnist_ray.training.predict import predict


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """1,203 files: 500 exported test images, 700 larger ones, three that cannot be labelled."""
    folder = tmp_path_factory.mktemp("files")
    write_class_folders(load_dataset("sample"), folder)
    for index, path in enumerate(find_images([folder / "train"])[:700]):
        with Image.open(path) as image:
            large = image.resize((56 + index % 50, 56 + index % 30))
        large.save(folder / "test" / f"large {index:03}.jpg")
    for name in ("0/broken.png", "5/broken.jpg", "z.png"):
        (folder / "test" / name).write_bytes(b"\x89PNG\r\n\x1a\nno more")
    return find_images([folder / "test"])


def test_chunks_hold_every_file_once_and_are_bounded(files: list[Path], tmp_path: Path) -> None:
    cut = chunks(files)
    assert [index for chunk in cut for index in chunk] == list(range(1203))
    assert [len(chunk) for chunk in cut] == [500, 500, 203]
    large = [tmp_path / f"{number}.bmp" for number in range(5)]
    for path in large:
        path.write_bytes(bytes(5 * 2**20))
    assert [len(chunk) for chunk in chunks([*large, tmp_path / "gone.png"])] == [2, 2, 2]
    assert chunks([]) == []


def test_ray_is_worth_it_where_it_saves_more_than_its_start() -> None:
    assert not worth_ray(5, 64)
    assert not worth_ray(3600, 1)
    assert not worth_ray(25, 2)
    assert worth_ray(60, 2)
    assert worth_ray(20, 16)


def test_labels_are_what_the_model_says_of_the_images(files: list[Path]) -> None:
    exported = [
        path for path in files if path.parent.name.isdecimal() and "broken" not in path.stem
    ]
    steps: list[tuple[int, int]] = []
    labels = label_here(exported, PRETRAINED_FOLDER, lambda *step: steps.append(step))
    images = load_dataset("sample").test.images
    expected = predict(load_model(PRETRAINED_FOLDER)[0], images)
    numbers = [int(path.stem) for path in exported]
    assert len(numbers) == 500
    np.testing.assert_allclose(labels.probability, expected[numbers], atol=1e-5)
    assert (labels.probability.argmax(1) == expected[numbers].argmax(1)).all()
    assert not labels.reasons
    assert steps == [(500, 500)]


def test_files_that_cannot_be_labelled_leave_the_others_alone(files: list[Path]) -> None:
    labels = label_here(files, PRETRAINED_FOLDER)
    skipped = [files[index].name for index in labels.reasons]
    assert skipped == ["broken.png", "broken.jpg", "z.png"]
    assert all("damaged" in reason or "no PNG" in reason for reason in labels.reasons.values())
    told = np.isnan(labels.probability).any(axis=1)
    assert np.flatnonzero(told).tolist() == list(labels.reasons)
    assert labels.probability[~told].sum(axis=1) == pytest.approx(1, abs=1e-5)


def test_threads_of_the_caller_are_left_as_they_were(files: list[Path]) -> None:
    before = torch.get_num_threads()
    label_here(files[:3], PRETRAINED_FOLDER)
    assert torch.get_num_threads() == before


def test_few_files_are_labelled_without_ray(files: list[Path]) -> None:
    labels, where = label_files(files[:20], PRETRAINED_FOLDER)
    assert where == "this process"
    assert len(labels.probability) == 20


def test_a_model_that_gives_no_numbers_is_told(files: list[Path], tmp_path: Path) -> None:
    config = ModelConfig(model="dnn")
    weights = build_model(config, seed=0).state_dict()
    weights["output.bias"][3] = torch.nan
    save_model(tmp_path, config, weights)
    with pytest.raises(WorkError, match=r"NaN.* for 9 of 10 files.*--record"):
        label_here([*files[:9], files[-1]], tmp_path)


def test_a_missing_model_and_a_missing_cluster_are_refused(
    files: list[Path], tmp_path: Path
) -> None:
    with pytest.raises(RequestError, match=r"model\.json does not exist"):
        label_files(files[:1], tmp_path)
    with pytest.raises(RequestError, match=r"Nothing answers at --address 127\.0\.0\.1:1"):
        label_files(files[:1], PRETRAINED_FOLDER, "127.0.0.1:1")


@pytest.mark.ray
@pytest.mark.parametrize("apart", [None, True])
def test_ray_data_gives_the_same_bits(
    ray_cluster: None, files: list[Path], apart: bool | None
) -> None:
    steps: list[tuple[int, int]] = []
    by_ray = label_with_ray(files, PRETRAINED_FOLDER, lambda *step: steps.append(step), apart=apart)
    here = label_here(files, PRETRAINED_FOLDER)
    assert np.array_equal(by_ray.probability, here.probability, equal_nan=True)
    assert by_ray.reasons == here.reasons
    assert sorted(steps) == steps
    assert steps[-1] == (1203, 1203)


@pytest.mark.ray
def test_what_is_begun_here_is_ended_by_ray(
    ray_cluster: None, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(labelling, "_LOOK_SECONDS", 0.0)
    monkeypatch.setattr(labelling, "_START_SECONDS", 0.0)
    labels, where = label_files(files, PRETRAINED_FOLDER)
    assert where == "this process, then Ray Data"
    here = label_here(files, PRETRAINED_FOLDER)
    assert np.array_equal(labels.probability, here.probability, equal_nan=True)
