"""The service under load: `python -m benchmarks.serve [--seconds 60] [--clients 16]`.

Starts it with the model that comes with the package, and asks with one PNG of 28 x 28 pixels, with
one photograph, and with 100 arrays at a time.
"""

import asyncio
import io
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import numpy as np
import psutil
import typer
from PIL import Image

from benchmarks.load import form, load, question
from fmnist_ray.dataset.sample import load_sample
from fmnist_ray.pretrained import PRETRAINED_FOLDER


@contextmanager
def started(*options: str) -> Iterator[dict[str, Any]]:
    """The service in processes of its own: its summary, with `seconds` to its first answer."""
    with tempfile.TemporaryDirectory() as results:
        begun = time.monotonic()
        command = [sys.executable, "-m", "fmnist_ray.serve", str(PRETRAINED_FOLDER), "--port", "0"]
        process = subprocess.Popen(
            [*command, "--results", results, "--json", "--quiet", *options],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stdout is not None
            summary = json.loads(process.stdout.readline())
            yield {**summary, "seconds": time.monotonic() - begun, "pid": process.pid}
        finally:
            process.terminate()
            process.wait(60)


def memory(pid: int) -> float:
    """MB of a process and all below it, shared pages counted once for each."""
    processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    return sum(each.memory_info().rss for each in processes) / 1e6


def main(
    seconds: Annotated[float, typer.Option(help="Of each load.")] = 60,
    clients: Annotated[int, typer.Option(help="At once.")] = 16,
    replicas: Annotated[int, typer.Option(help="Of the model.")] = 1,
) -> None:
    """Prints rates and latencies."""
    images = load_sample().test.images
    asked = {
        "one PNG, as a form": form(_png(images[0])),
        "one PNG, as the body": ("image/png", _png(images[0])),
        "one photograph": ("image/jpeg", _photograph(images[0])),
        "100 arrays": ("application/json", json.dumps({"images": images[:100].tolist()}).encode()),
    }
    with started("--replicas", str(replicas)) as service:
        print(f"from nothing to the first answer: {service['seconds']:.1f} s")
        before = memory(service["pid"])
        for what, (kind, body) in asked.items():
            content = question(service["api"], kind, body, service["token"])
            asyncio.run(load(service["api"], content, clients, 2))  # warms it
            outcome = asyncio.run(load(service["api"], content, clients, seconds))
            print(f"{what} ({len(body):,} bytes): {outcome}", flush=True)
            for error in sorted(set(outcome.errors))[:5]:
                print(f"    {error}")
        print(f"memory: {before:,.0f} MB before, {memory(service['pid']):,.0f} MB after")


def _png(image: np.ndarray) -> bytes:
    written = io.BytesIO()
    Image.fromarray(image).save(written, "PNG")
    return written.getvalue()


def _photograph(image: np.ndarray) -> bytes:
    """3 megapixels, as a phone's smaller setting gives them."""
    item = np.asarray(Image.fromarray(255 - image).resize((1500, 2000)).convert("RGB"), float)
    noise = np.random.default_rng(0).normal(0, 4, item.shape)
    written = io.BytesIO()
    Image.fromarray((item + noise).clip(0, 255).astype(np.uint8)).save(written, "JPEG", quality=88)
    return written.getvalue()


if __name__ == "__main__":
    typer.run(main)
