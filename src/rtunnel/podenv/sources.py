"""Where the environment of an application is read: a document of ``rtunnel pod-env``, a process, or a dotenv file."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterable, Mapping

from dotenv import dotenv_values

from rtunnel.podenv.variables import MAX_DOCUMENT, DocumentError, Variable, read_document

__all__ = ["SourceError", "read_dotenv", "read_source"]

_ENVIRON = re.compile(r"/proc/(?:self|\d+)/environ")


class SourceError(Exception):
    """An environment cannot be read; the text says why, and contains no values."""


def read_source(path: str) -> list[Variable]:
    """Read an environment.

    :param path: of a document, of ``/proc/PID/environ``, or of a dotenv file, by its name.
    :raises SourceError: it cannot be read.
    """
    data = _read(path)
    if _ENVIRON.fullmatch(path):
        return list(_variables(_of_process(data)))
    if path.endswith(".json"):
        try:
            return read_document(data)
        except DocumentError as error:
            raise SourceError(f"{path}: {error}") from None
    return list(_variables(_of_dotenv(path, data)))


def read_dotenv(path: str) -> dict[str, str]:
    """The variables of a dotenv file; ``$`` in it stands for itself.

    :raises SourceError: it cannot be read.
    """
    return _of_dotenv(path, _read(path))


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_DOCUMENT + 1)
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror or error}") from None
    if len(data) > MAX_DOCUMENT:
        raise SourceError(f"{path}: is larger than {MAX_DOCUMENT >> 20} MiB")
    return data


def _of_process(data: bytes) -> dict[str, str]:
    pairs = (os.fsdecode(pair).partition("=") for pair in data.split(b"\0") if b"=" in pair)
    return {name: value for name, _, value in pairs}


def _of_dotenv(path: str, data: bytes) -> dict[str, str]:
    try:
        # newline="": a carriage return in quotes is one of the value
        text = io.StringIO(data.decode("utf-8-sig"), newline="")
    except UnicodeDecodeError:
        raise SourceError(f"{path}: is not UTF-8") from None
    found = dotenv_values(stream=text, interpolate=False)
    return {name: value for name, value in found.items() if value is not None}


def _variables(pairs: Mapping[str, str]) -> Iterable[Variable]:
    return (Variable(name, value) for name, value in pairs.items() if name and "\0" not in value)
