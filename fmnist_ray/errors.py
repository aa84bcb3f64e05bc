"""The errors that a person is meant to read."""


class RequestError(Exception):
    """The request was wrong, and nothing was started or lost.

    The message names the thing, the value it had and what to change, in one or two plain
    sentences. Verbs print it alone, without a traceback, and exit with status 2.
    """


class WorkError(Exception):
    """The request was right, but the work failed. Verbs print the message and exit with status 1."""


class DiskError(WorkError):
    """A file could not be written: the disk is full, say, or has become read-only.

    Not a fault of the unit that met it: the next one would meet it, too.
    """

    @classmethod
    def about(cls, path: object, error: OSError) -> "DiskError":
        """The error to raise for what the system said of a path."""
        return cls(
            f"{path} cannot be written: {error.strerror or error}. What is written already is "
            "whole. Make room, or see to it that the folder can be written."
        )


class Interrupted(Exception):
    """The work was stopped by a signal after its state was saved.

    Args:
        message: What was saved, and the command that goes on from there.
        exit_code: 130 after Ctrl-C, 143 after SIGTERM.
    """

    def __init__(self, message: str, exit_code: int = 130) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class DivergedError(WorkError):
    """A training loss stopped being a finite number."""
