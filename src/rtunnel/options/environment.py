"""Options as environment variables: ``RTUNNEL_HEAD_TIMEOUT=5s`` is ``--head-timeout 5s``.

An empty variable is the same as none. Lists are separated by commas or spaces; by spaces only where a value may contain commas
itself, as the URLs of ``RTUNNEL_L`` and the targets of ``RTUNNEL_TARGET`` do, and by lines where it may contain spaces
(``RTUNNEL_INTERCEPT``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches

from rtunnel.options.layers import RawOption
from rtunnel.options.table import CLIENT, SERVER, VISITOR, Option

__all__ = ["REACTOR", "misspelt", "options"]

REACTOR = "RTUNNEL_REACTOR"
"""The variable for the reactor of the ``rtunnel`` command, which is chosen before any other option is read."""


def options(rows: tuple[Option, ...], environ: Mapping[str, str]) -> Iterator[RawOption]:
    """The options that are given as variables."""
    for option in rows:
        value = environ.get(option.variable, "").strip()
        if not value:
            continue
        if not option.many:
            texts = [value]
        elif option.kind.lines:
            texts = [line.strip() for line in value.splitlines() if line.strip()]
        elif option.field and not option.kind.lists:
            texts = value.replace(",", " ").split()
        else:
            texts = value.split()
        for text in texts:
            yield option, option.variable, text


def misspelt(environ: Mapping[str, str]) -> Iterator[str]:
    """Warnings about variables whose names resemble one of ours, one line each.

    Others are ignored: Kubernetes sets ``RTUNNEL_SERVICE_HOST`` and the like for a Service of that name.
    """
    known = [option.variable for option in (*SERVER, *CLIENT, *VISITOR)] + [REACTOR]
    for name in environ:
        if name.startswith("RTUNNEL_") and name not in known:
            close = get_close_matches(name, known, 1, 0.9)
            if close:
                yield f"unknown variable {name} is ignored; did you mean {close[0]}?"
