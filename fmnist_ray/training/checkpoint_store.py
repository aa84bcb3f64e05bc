"""Where the checkpoints of units are kept: a folder, or any place that pyarrow has a URI for."""

import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from fmnist_ray.errors import RequestError, WorkError
from fmnist_ray.records import check_name, check_no_secret, write_whole
from fmnist_ray.training.checkpoint import Checkpoint, DamagedCheckpoint

_FILE = "checkpoint.safetensors"


class CheckpointStore:
    """One checkpoint per unit, each replaced whole by the next.

    Args:
        place: A folder, or a URI such as `s3://bucket/path` or `gs://bucket/path`.
    """

    def __init__(self, place: str) -> None:
        self.place = place

    @property
    def is_local(self) -> bool:
        """Whether the place is a folder of this machine (shared or not)."""
        return "://" not in self.place

    def check(self) -> None:
        """Tries to write.

        Raises:
            RequestError: The place cannot be written, or holds a secret.
        """
        check_no_secret(self.place, "--storage")
        try:
            self.write("write-test", b"")
            self.drop("write-test")
        except (WorkError, OSError, ValueError, ImportError) as error:
            raise RequestError(
                f"Checkpoints cannot be written to --storage {self.place}: {error}. "
                "Name a folder that can be written, or a URI that pyarrow knows (s3://, gs://)."
            ) from None

    def save(self, unit: str, checkpoint: Checkpoint) -> None:
        """Keeps a unit's checkpoint in place of its last one."""
        self.write(unit, checkpoint.to_bytes())

    def load(self, unit: str) -> Checkpoint | None:
        """A unit's checkpoint, or None if there is none or it is damaged."""
        content = self.read(unit)
        try:
            return None if content is None else Checkpoint.from_bytes(content)
        except DamagedCheckpoint:
            return None

    def load_for(self, unit: str, config: BaseModel, seed: int) -> Checkpoint | None:
        """A unit's checkpoint if it is of this very fit, else None."""
        checkpoint = self.load(unit)
        if checkpoint is None or checkpoint.seed != seed:
            return None
        return checkpoint if checkpoint.config == config.model_dump() else None

    def remove(self, unit: str) -> None:
        """Drops a unit's checkpoint, if there is one."""
        if self.is_local:
            self._path(unit).unlink(missing_ok=True)
            return
        filesystem, folder = self._remote()
        with suppress(FileNotFoundError):
            filesystem.delete_file(f"{folder}/{unit}/{_FILE}")

    def drop(self, unit: str) -> None:
        """Removes a unit with its folder, in which nothing else is."""
        self.remove(unit)
        if self.is_local:
            with suppress(FileNotFoundError):
                self._path(unit).parent.rmdir()
            return
        filesystem, folder = self._remote()
        with suppress(FileNotFoundError):
            filesystem.delete_dir(f"{folder}/{unit}")

    def read(self, unit: str) -> bytes | None:
        """What is kept for a unit, as bytes; None if there is nothing."""
        try:
            if self.is_local:
                return self._path(unit).read_bytes()
            filesystem, folder = self._remote()
            with filesystem.open_input_stream(f"{folder}/{unit}/{_FILE}") as stream:
                content: bytes = stream.read()
                return content
        except FileNotFoundError:
            return None

    def write(self, unit: str, content: bytes) -> None:
        """Keeps bytes for a unit.

        Raises:
            WorkError: The place cannot be written.
        """
        if self.is_local:
            write_whole(self._path(unit), content)
            return
        filesystem, folder = self._remote()
        filesystem.create_dir(f"{folder}/{check_name(unit)}", recursive=True)
        # Object stores show a file only when its stream is closed, so it appears whole.
        with filesystem.open_output_stream(f"{folder}/{unit}/{_FILE}") as stream:
            stream.write(content)

    def _path(self, unit: str) -> Path:
        return Path(self.place) / check_name(unit) / _FILE

    def _remote(self) -> tuple[Any, str]:
        from pyarrow import fs

        filesystem, folder = fs.FileSystem.from_uri(self.place)
        return filesystem, folder.rstrip("/")


def remove_folder(place: str) -> None:
    """Removes a folder, or what lies under a URI, with all that is in it."""
    if CheckpointStore(place).is_local:
        shutil.rmtree(place, ignore_errors=True)
        return
    from pyarrow import fs

    filesystem, folder = fs.FileSystem.from_uri(place)
    with suppress(FileNotFoundError):
        filesystem.delete_dir(folder)
