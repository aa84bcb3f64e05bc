"""Labelling image files: this process alone, and Ray Data, against what two cores could do at most.

    python -m benchmarks.predict [--photographs 2000]

60,000 images in memory, and two folders: the 10,000 test images as PNG files, and photographs of 800 x 600 pixels made of them.
The bound is the CPU seconds that one process spends per file, divided among the cores; Ray Data's
rate is that between its first and its last result, its start being told apart.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from fmnist_ray.dataset.image_files import find_images
from fmnist_ray.dataset.sources import load_dataset
from fmnist_ray.dispatch.labelling import label_with_ray
from fmnist_ray.dispatch.labels import label_here
from fmnist_ray.dispatch.session import ray_session
from fmnist_ray.models.storage import load_model
from fmnist_ray.pretrained import PRETRAINED_FOLDER
from fmnist_ray.training.predict import predict


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photographs", type=int, default=2000)
    count = parser.parse_args().photographs
    dataset = load_dataset(None)
    test = dataset.test
    arrays(dataset.train.images)
    with tempfile.TemporaryDirectory() as folder:
        small, large = Path(folder) / "small", Path(folder) / "large"
        write_small(test.images, small)
        write_photographs(test.images[:count], large)
        print(f"{'files':<22}{'way':<14}{'seconds':>9}{'files/s':>9}{'of bound':>10}  same bits")
        compare(f"{len(test):,} PNG 28 x 28", small)
        compare(f"{count:,} JPEG 800 x 600", large)


def arrays(images: np.ndarray) -> None:
    """Prints what one process says of images in memory, on all cores."""
    module, _ = load_model(PRETRAINED_FOLDER)
    for precision in ("fp32", "bf16"):
        predict(module, images[:2000], precision=precision)
        begun = time.perf_counter()
        predict(module, images, precision=precision)
        seconds = time.perf_counter() - begun
        print(
            f"{f'{len(images):,} arrays, {precision}':<22}{'one process':<14}{seconds:>9.1f}{len(images) / seconds:>9,.0f}"
        )


def compare(name: str, folder: Path) -> None:
    """Prints a row for each way."""
    files = find_images([str(folder)])
    begun, busy = time.perf_counter(), time.process_time()
    plain = label_here(files, PRETRAINED_FOLDER)
    seconds = time.perf_counter() - begun
    bound = len(files) / (time.process_time() - busy) * len(os.sched_getaffinity(0))
    row(name, "one process", seconds, len(files) / seconds, bound, "")
    told: list[tuple[float, int]] = []
    begun = time.perf_counter()
    with ray_session("local"):
        labels = label_with_ray(
            files, PRETRAINED_FOLDER, lambda done, _: told.append((time.perf_counter(), done))
        )
        seconds = time.perf_counter() - begun
    (first, before), (last, done) = told[0], told[-1]
    rate = (done - before) / (last - first)
    same = np.array_equal(plain.probability, labels.probability, equal_nan=True)
    row(name, "Ray Data", seconds, rate, bound, str(same))
    print(f"{'':<22}{'':<14}{first - begun:>9.1f} to the first result, Ray's start included")


def row(name: str, way: str, seconds: float, rate: float, bound: float, same: str) -> None:
    print(f"{name:<22}{way:<14}{seconds:>9.1f}{rate:>9,.0f}{rate / bound:>10.0%}  {same}")


def write_small(images: np.ndarray, folder: Path) -> None:
    folder.mkdir(parents=True)
    for number, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{number:05}.png")


def write_photographs(images: np.ndarray, folder: Path) -> None:
    """Items on light grounds of different colours, with some noise, as a camera's JPEGs."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for number, image in enumerate(images):
        item = Image.fromarray(image).resize((480, 480), Image.Resampling.BICUBIC)
        share = np.zeros((600, 800, 1), np.float32)
        share[60:540, 160:640, 0] = np.asarray(item, np.float32) / 255
        ground = generator.uniform(190, 250, 3)
        photograph = ground * (1 - share) + 30 * share + generator.normal(0, 3, (600, 800, 1))
        pixels = np.clip(photograph, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:05}.jpg", quality=88)


if __name__ == "__main__":
    main()
