"""The variables of an environment with their sources, as a document: what ``rtunnel pod-env`` writes, and a client gives out."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final

from attrs import field, frozen

__all__ = ["MAX_DOCUMENT", "DocumentError", "Variable", "read_document", "write_document"]

VERSION: Final = 1
_KEY: Final = "pod_env_version"
MAX_DOCUMENT: Final = 4 << 20
"""Bytes of a document at most."""
UNKNOWN: Final = "unknown"
"""The source of a variable of which nothing else is known: it counts as a Secret."""


class DocumentError(Exception):
    """A document is none, or of another version; the text says why and contains no values."""


@frozen
class Variable:
    """One variable.

    :ivar name: without ``=`` and NUL, not empty.
    :ivar value: without NUL; None where it is not given.
    :ivar source: where it comes from: ``value``, ``configmap/NAME``, ``secret/NAME``, or :data:`UNKNOWN`.
    :ivar withheld: whether the value is kept back, whoever asks.
    """

    name: str
    value: str | None = field(default=None, repr=False)
    source: str = UNKNOWN
    withheld: bool = False

    @property
    def is_secret(self) -> bool:
        """Whether its value is one of a Secret, or may be."""
        return not (self.source == "value" or self.source.startswith("configmap/"))


def write_document(variables: Iterable[Variable]) -> bytes:
    """Variables as a document."""
    # in ASCII, so that values that are no UTF-8 pass as well (os.fsdecode)
    return json.dumps({_KEY: VERSION, "variables": {one.name: _details(one) for one in variables}}, indent=1).encode() + b"\n"


def _details(variable: Variable) -> dict[str, Any]:
    details: dict[str, Any] = {"source": variable.source}
    if variable.value is not None:
        details["value"] = variable.value
    if variable.withheld:
        details["withheld"] = True
    return details


def read_document(data: bytes) -> list[Variable]:
    """The variables of a document.

    :raises DocumentError: it is none.
    """
    if len(data) > MAX_DOCUMENT:
        raise DocumentError(f"it is larger than {MAX_DOCUMENT >> 20} MiB")
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        raise DocumentError("it is not JSON") from None
    if not isinstance(document, dict) or document.get(_KEY) != VERSION or not isinstance(document.get("variables"), dict):
        raise DocumentError(f'it is not what "rtunnel pod-env" writes (version {VERSION})')
    return [_variable(name, details) for name, details in document["variables"].items()]


def _variable(name: str, details: Any) -> Variable:
    if not isinstance(details, dict):
        raise DocumentError("a variable is malformed")
    value, source = details.get("value"), details.get("source", UNKNOWN)
    if not (value is None or isinstance(value, str)) or not isinstance(source, str):
        raise DocumentError("a value or a source is not a text")
    if not name or "=" in name or "\0" in name or "\0" in (value or ""):
        raise DocumentError("a name or a value is none that an environment can have")
    return Variable(name, value, source, details.get("withheld") is True)
