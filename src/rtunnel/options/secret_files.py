"""Files that contain one line, which should not be seen among the arguments of a process."""

from __future__ import annotations

from typing import Final

__all__ = ["only_line"]

_MOST: Final = 4096
"""Characters that are read: more than any URL or password of ours has."""


def only_line(path: str, what: str) -> str:
    """Return the line of such a file, without its end.

    :param what: what the line is, for errors.
    :raises ValueError: the file cannot be read, is no text, is too long, or has another number of lines.
    """
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(_MOST + 1)
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror or error}") from None
    except ValueError:
        raise ValueError(f"not a text file; it must contain one line, {what}") from None
    lines = text.splitlines()
    if len(lines) != 1 or len(text) > _MOST:
        raise ValueError(f"must contain one line, {what}")
    return lines[0]
