"""Descriptions of faults in HTTP/1 heads. Slow and thorough, since it is only called for invalid heads."""

from __future__ import annotations

import re
from typing import Final

from rtunnel.wire.http1_head import HeadError

__all__ = ["request_fault", "response_fault"]

_TOKEN: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++")
_TARGET: Final = re.compile(rb"[\x21\x22\x24-\x7e]++")
_VERSION: Final = re.compile(rb"HTTP/[0-9]\.[0-9]")
_TEXT: Final = re.compile(rb"[\t\x20-\x7e\x80-\xff]*+")
_STATUS: Final = re.compile(rb"[1-9][0-9]{2}")


def request_fault(head: bytes) -> HeadError | None:
    """The first violation of the grammar of RFC 9112 in a request head; None if there is none."""
    start_line, *lines = head.split(b"\r\n")
    return _lines_fault(head, start_line) or _request_line_fault(start_line) or _fields_fault(lines)


def response_fault(head: bytes) -> HeadError | None:
    """The same for a response head."""
    start_line, *lines = head.split(b"\r\n")
    return _lines_fault(head, start_line) or _status_line_fault(start_line) or _fields_fault(lines)


def _lines_fault(head: bytes, start_line: bytes) -> HeadError | None:
    ends = head.count(b"\r\n")
    if head.count(b"\r") != ends or head.count(b"\n") != ends:
        return HeadError(400, "a bare CR or LF")
    if head.partition(b"\r\n\r\n")[1:] != (b"\r\n\r\n", b""):
        return HeadError(400, "not one whole head")
    if not start_line:
        return HeadError(400, "too many empty lines before a head")
    return None


def _request_line_fault(line: bytes) -> HeadError | None:
    parts = line.split(b" ")
    if len(parts) != 3:
        return HeadError(400, "malformed request line")
    method, target, version = parts
    if not _TOKEN.fullmatch(method):
        return HeadError(400, "malformed method")
    if not _TARGET.fullmatch(target):
        return HeadError(400, "a character in the target that a URI cannot have")
    return _version_fault(version)


def _status_line_fault(line: bytes) -> HeadError | None:
    version, _, rest = line.partition(b" ")
    status, _, reason = rest.partition(b" ")
    if not _STATUS.fullmatch(status) or not _TEXT.fullmatch(reason):
        return HeadError(400, "malformed status line")
    return _version_fault(version)


def _version_fault(version: bytes) -> HeadError | None:
    if not _VERSION.fullmatch(version):
        return HeadError(400, "malformed HTTP version")
    if version not in (b"HTTP/1.0", b"HTTP/1.1"):
        return HeadError(505, "neither HTTP/1.0 nor HTTP/1.1")
    return None


def _fields_fault(lines: list[bytes]) -> HeadError | None:
    for line in lines[:-2]:
        fault = _field_fault(line)
        if fault:
            return HeadError(400, fault)
    return None


def _field_fault(line: bytes) -> str:
    name, colon, value = line.partition(b":")
    if line[:1] in (b" ", b"\t"):
        return "a folded line (obs-fold)"
    if not colon:
        return "a line without a colon"
    if not name:
        return "a field without a name"
    if name[-1:] in (b" ", b"\t"):
        return "white space before a colon"
    if not _TOKEN.fullmatch(name):
        return "a character in a field's name that names cannot have"
    if not _TEXT.fullmatch(value):
        return "a control character in a field's value"
    return ""
