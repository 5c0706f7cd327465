"""Options from the environment: ``RTUNNEL_HEAD_TIMEOUT=5s`` is ``--head-timeout 5s``.

An empty variable counts as none. Lists are separated by commas or spaces; by spaces alone where one value may have commas
of its own: the URLs of ``RTUNNEL_L``, the targets of ``RTUNNEL_TARGET``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches

from rtunnel.options.layers import RawOption
from rtunnel.options.table import CLIENT, SERVER, VISITOR, Option

__all__ = ["REACTOR", "misspelt", "options"]

REACTOR = "RTUNNEL_REACTOR"
"""The reactor of the ``rtunnel`` command, which must choose before it knows any other option."""


def options(rows: tuple[Option, ...], environ: Mapping[str, str]) -> Iterator[RawOption]:
    """The options that are given as variables."""
    for option in rows:
        value = environ.get(option.variable, "").strip()
        if not value:
            continue
        if not option.many:
            texts = [value]
        elif option.field and not option.kind.lists:
            texts = value.replace(",", " ").split()
        else:
            texts = value.split()
        for text in texts:
            yield option, option.variable, text


def misspelt(environ: Mapping[str, str]) -> Iterator[str]:
    """Warn of variables that look like ours and are not, one line each.

    Others stay unmentioned: Kubernetes makes ``RTUNNEL_SERVICE_HOST`` and the like of a Service with that name.
    """
    known = [option.variable for option in (*SERVER, *CLIENT, *VISITOR)] + [REACTOR]
    for name in environ:
        if name.startswith("RTUNNEL_") and name not in known:
            close = get_close_matches(name, known, 1, 0.9)
            if close:
                yield f"the variable {name} is set but means nothing; did you mean {close[0]}?"
