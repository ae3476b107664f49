"""Errors a user can mend: one line that says what is wrong, where, and what to do."""

from __future__ import annotations


class DataError(ValueError):
    """Input data (an info file, an image, a point cloud, a calibration) cannot be used.

    The message is one line that names the file or the field and the remedy; the command-line tools
    print it alone, without a stack trace, and exit with status 2.
    """

    def __init__(self, message: str) -> None:
        # torch raises a DataLoader worker's error anew with the worker's whole stack trace for a
        # message; the last thing in it is the message itself.
        super().__init__(message.rpartition(f"{type(self).__name__}: ")[2].rstrip())


class TrainingError(RuntimeError):
    """Training cannot go on; the message is one line that says where and what to do."""
