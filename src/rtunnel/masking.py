"""What a user typed, as an error may repeat it: without what could be a password, and with IDs cut.

Passwords are written as ``USER:PASSWORD``, in a URL before an ``@``, or in a query. An error is about something mistyped, so what
separates a password from the rest may be missing or wrong; here everything is left out that may be part of one. A host, a port, a
path, a number and the name of a file are shown.
"""

from __future__ import annotations

import re

from rtunnel.ids import mask_ids

__all__ = ["SECRET_KEY", "mask", "mask_words"]

SECRET_KEY = re.compile("pass|secret|auth|token|key|cred", re.IGNORECASE)
"""What the name of a setting has in it that holds a secret."""

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_SECRET_PAIR = re.compile(r"((?:pass|secret|auth|token|key|cred)[^?&=]*=).*", re.IGNORECASE | re.DOTALL)
_AFTER_ID = re.compile(r"^([0-9a-f]{8}\.\.\.)[^=,&/?].*", re.IGNORECASE | re.DOTALL)
"""What is glued to an ID that has been cut, where a separator is missing."""
_IPV6 = re.compile(r"\[?[0-9A-Fa-f]*:[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*\]?(?::\d{1,5})?(?:[/?].*)?", re.DOTALL)
_NO_PORT = re.compile(r"(?<!unix):(?!\d{1,5}(?:$|[/?#;\])\"'\s]))(?=.)", re.DOTALL)


def mask(text: str) -> str:
    """A value as it was typed, without what may be a password in it, and with IDs cut to their first characters."""
    return _mask_passwords(_AFTER_ID.sub(r"\1", mask_ids(text)))


def mask_words(text: str) -> str:
    """The same for each word of a sentence that repeats what was typed."""
    return " ".join(mask(word) for word in text.split(" "))


def _mask_passwords(text: str) -> str:
    text = _SECRET_PAIR.sub(r"\1...", text)
    scheme = _SCHEME.match(text)
    start = scheme.end() if scheme else 0
    if "@" in text:
        # there may be another one in the password
        return f"{text[:start]}..."
    shown = start
    for piece in text[start:].split(","):
        bad = None if _IPV6.fullmatch(piece) else _NO_PORT.search(piece)
        if bad is not None:
            return f"{text[: shown + bad.end()]}..."
        shown += len(piece) + 1
    return text
