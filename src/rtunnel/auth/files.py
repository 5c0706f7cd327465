"""Reading the files of users and permissions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from rtunnel.routing.lines import LineError
from rtunnel.settings import SettingsError

__all__ = ["read"]

MAX_BYTES: Final = 16 * 2**20
"""Maximum size of a file, in bytes."""

T = TypeVar("T")


def read(path: str, parse: Callable[[str], T]) -> T:
    """Read a file.

    :param parse: of its text; raises :class:`~rtunnel.routing.lines.LineError`.
    :raises SettingsError: it cannot be read, or a line of it is invalid: then the key is ``PATH:LINE``.
    """
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise SettingsError(path, None, f"cannot be read: {error.strerror or error}") from None
    except ValueError:
        raise SettingsError(path, None, "is not text in UTF-8") from None
    if len(text) > MAX_BYTES:
        raise SettingsError(path, None, f"is longer than {MAX_BYTES // 2**20} MiB")
    try:
        return parse(text)
    except LineError as error:
        raise SettingsError(f"{path}:{error.line}", None, error.hint) from None
