"""The access log, as lists of lines."""

from __future__ import annotations

from collections.abc import Callable

from rtunnel.ops.access import FORMATS, Access

__all__ = ["writes"]


def writes(lines: list[str], line_format: str) -> Callable[[Access], None]:
    """What an :class:`~rtunnel.ops.access.AccessLog` calls with each request, so that its line is in a list at once."""

    def write(access: Access) -> None:
        lines.append(FORMATS[line_format](access))

    return write
