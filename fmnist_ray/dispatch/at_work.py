"""A verb at work on its record: one process at a time, and an end that the record tells."""

import errno
import fcntl
import logging
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console

from fmnist_ray.dispatch.lost_head import watching_head
from fmnist_ray.errors import DiskError, Interrupted, RequestError, WorkError
from fmnist_ray.records import Record
from fmnist_ray.signals import stop_exit_code

_LOCK_FILE = ".lock"
_OF_THE_DISK = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO),
    *(errno.EROFS, errno.EACCES, errno.EPERM),
}
_log = logging.getLogger(__name__)


@contextmanager
def at_work(record: Record, go_on: str, console: Console, **changes: Any) -> Iterator[None]:
    """Marks a record as `running` while the work lasts, and then by how it ended.

    It becomes `complete`, `interrupted` (Ctrl-C, SIGTERM) or, after any error, `failed`. Where the
    cluster's head is lost, it becomes `interrupted` and the process ends with exit code 1.

    Args:
        record: The run's.
        go_on: The command that goes on with it.
        console: Told that command after a failure.
        changes: More fields of `run.json` to change at the beginning.

    Raises:
        RequestError: Another process is at work on the record.
        DiskError: In place of the system's error, when the disk is full or read-only.
        WorkError: In place of Ray's, when there is no room for another object.
        Interrupted: In place of the KeyboardInterrupt, with the command that goes on.
    """

    def lost(head: str) -> None:
        _end(record, "interrupted")
        print(
            f"error: the head of the cluster, {head}, does not answer any more. All finished "
            f"epochs are saved. Go on, on another cluster, with:\n  {go_on}",
            file=sys.stderr,
            flush=True,
        )

    with _only_one(record), watching_head(lost):
        record.update(status="running", ended=None, **changes)
        try:
            yield
        except KeyboardInterrupt:
            _end(record, "interrupted")
            raise Interrupted(
                f"all finished epochs are saved. Go on with:\n  {go_on}",
                exit_code=stop_exit_code(),
            ) from None
        except BaseException as error:
            error = _as_people_read_it(error, record)
            _end(record, "failed", quiet=isinstance(error, DiskError))
            console.print(f"go on with: {go_on}", markup=False)
            raise error
        record.end("complete")


def _as_people_read_it(error: BaseException, record: Record) -> BaseException:
    """In place of an error of the system or of Ray, one that says what to do; else the same."""
    import ray

    if isinstance(error, OSError) and error.errno in _OF_THE_DISK:
        return DiskError.about(error.filename or record.path, error)
    if isinstance(error, ray.exceptions.ObjectStoreFullError | ray.exceptions.OutOfDiskError):
        return WorkError(
            "Ray's object store is full, and so is the disk that it moves objects to "
            f"({type(error).__name__}). End other work on this cluster, make room on its nodes' "
            "disks, or start Ray with a larger `--object-store-memory`."
        )
    return error


@contextmanager
def _only_one(record: Record) -> Iterator[None]:
    """Holds the record's lock, which the system takes back from a process that is killed."""
    with (record.path / _LOCK_FILE).open("a+") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.seek(0)
            raise RequestError(
                f"{record.path} is at work in {stream.read() or 'another process'}. Wait for it "
                "to end, or stop it first."
            ) from None
        except OSError as error:  # a file system without locks
            _log.warning(
                "warning: %s cannot be locked (%s); do not start a second process on it.",
                record.path,
                error.strerror,
            )
        stream.truncate(0)
        stream.write(f"process {os.getpid()} on {platform.node()}")
        stream.flush()
        yield


def _end(record: Record, status: str, quiet: bool = False) -> None:
    """Writes the status, but lets an error that is under way go before one of writing it."""
    try:
        record.end(status)
    except (RequestError, WorkError) as error:
        if quiet:  # the error under way says the same
            return
        _log.warning("warning: that the run is %s could not be noted. %s", status, error)
