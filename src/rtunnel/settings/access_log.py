"""Whether and how each request leaves a line."""

from __future__ import annotations

import attrs

from rtunnel.settings.checks import check

__all__ = ["FORMATS", "STDOUT", "AccessLogSettings"]

FORMATS = ("text", "json")
STDOUT = "-"
"""What stands for stdout in place of a file."""


@attrs.frozen(kw_only=True)
class AccessLogSettings:
    """The access log.

    :ivar file: where the lines go, ``-`` for stdout, ``None`` for no access log.
    :ivar format: ``text`` or ``json``.
    :ivar query: whether the query of a request is written too; it may hold secrets.
    """

    file: str | None = attrs.field(
        default=None,
        validator=attrs.validators.optional(check(lambda file: file and "\0" not in file, 'must be a file, or "-" for stdout')),
    )
    format: str = attrs.field(default="text", validator=check(FORMATS.__contains__, 'must be "text" or "json"'))
    query: bool = False
