"""The access log."""

from __future__ import annotations

import attrs

from rtunnel.settings.checks import check

__all__ = ["FORMATS", "STDOUT", "AccessLogSettings"]

FORMATS = ("text", "json")
STDOUT = "-"
"""Means stdout in place of a file."""


@attrs.frozen(kw_only=True)
class AccessLogSettings:
    """Whether and how each request and connection is logged.

    :ivar file: where the lines are written, ``-`` for stdout; ``None`` for no access log.
    :ivar format: ``text`` or ``json``.
    :ivar query: whether the query of a request is included; it may hold secrets.
    """

    file: str | None = attrs.field(
        default=None,
        validator=attrs.validators.optional(check(lambda file: file and "\0" not in file, 'must be a file, or "-" for stdout')),
    )
    format: str = attrs.field(default="text", validator=check(FORMATS.__contains__, 'must be "text" or "json"'))
    query: bool = False
