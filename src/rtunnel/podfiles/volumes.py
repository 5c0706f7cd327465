"""A volume as it is at one moment, and as a document: what a client gives out, and what a laptop makes a copy of."""

from __future__ import annotations

import hashlib
import json
import re
from base64 import b64decode, b64encode
from binascii import Error
from collections.abc import Iterable
from typing import Any, Final

from attrs import field, frozen

__all__ = [
    "MAX_DOCUMENT",
    "MAX_FILE",
    "MAX_FILES",
    "MAX_TOTAL",
    "PodFile",
    "Volume",
    "VolumesError",
    "is_root",
    "read_volumes",
    "revision_of",
    "write_volumes",
]

VERSION: Final = 1
_KEY: Final = "pod_files_version"
MAX_FILE: Final = 1 << 20
"""Bytes of a file at most; a ConfigMap or Secret has no more in all."""
MAX_TOTAL: Final = 4 << 20
"""Bytes of all files of a document at most."""
MAX_FILES: Final = 1000
"""Files of a document at most."""
MAX_DOCUMENT: Final = 8 << 20
"""Bytes of a document at most."""

_PATH: Final = re.compile(r"(?!\.\.)[^/\0]+(?:/(?!\.\.)[^/\0]+)*")
_ROOT: Final = re.compile(r"(?:/(?!\.\.?(?:/|\Z))[^/\0]+)+")


class VolumesError(Exception):
    """A document is none, or holds what must not be; the text says why and contains nothing of the files."""


@frozen
class PodFile:
    """One file.

    :ivar path: relative to its volume; no component begins with ``..``.
    :ivar size: in bytes.
    :ivar mode: permission bits.
    :ivar content: None where only the names were asked for.
    """

    path: str
    size: int
    mode: int = 0o644
    content: bytes | None = field(default=None, repr=False)


@frozen
class Volume:
    """The files of a volume, all of one moment.

    :ivar path: where the application has it.
    :ivar revision: changes when the files do.
    :ivar files: in the order of their paths.
    :ivar left_out: files that are too large, or no regular ones.
    """

    path: str
    revision: str
    files: tuple[PodFile, ...] = ()
    left_out: tuple[str, ...] = ()


def is_relative(path: str) -> bool:
    """Whether a path stays in its volume, and is none of those by which Kubernetes swaps them."""
    return _PATH.fullmatch(path) is not None and "." not in path.split("/")


def is_root(path: str) -> bool:
    """Whether a path is absolute, without ``.`` and ``..``."""
    return _ROOT.fullmatch(path) is not None


def revision_of(volumes: Iterable[Volume]) -> str:
    """What changes when one of some volumes does."""
    text = "\n".join(f"{volume.path} {volume.revision}" for volume in volumes)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def write_volumes(volumes: Iterable[Volume]) -> bytes:
    """Volumes as a document."""
    return json.dumps({_KEY: VERSION, "volumes": [_volume_pairs(volume) for volume in volumes]}).encode() + b"\n"


def _volume_pairs(volume: Volume) -> dict[str, Any]:
    return {
        "path": volume.path,
        "revision": volume.revision,
        "files": [_file_pairs(file) for file in volume.files],
        "left_out": list(volume.left_out),
    }


def _file_pairs(file: PodFile) -> dict[str, Any]:
    pairs: dict[str, Any] = {"path": file.path, "size": file.size, "mode": file.mode}
    if file.content is not None:
        pairs["content"] = b64encode(file.content).decode()
    return pairs


def read_volumes(data: bytes) -> list[Volume]:
    """The volumes of a document, whoever made it: no path in it leads out of its volume.

    :raises VolumesError: it is none, or too large.
    """
    if len(data) > MAX_DOCUMENT:
        raise VolumesError(f"it is larger than {MAX_DOCUMENT >> 20} MiB")
    try:
        document = json.loads(data)
        if document[_KEY] != VERSION:
            raise VolumesError("it is of another version")
        volumes = [_volume(pairs) for pairs in document["volumes"]]
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError, Error):
        raise VolumesError("it is malformed") from None
    if sum(len(volume.files) for volume in volumes) > MAX_FILES:
        raise VolumesError(f"it has more than {MAX_FILES} files")
    if len({volume.path for volume in volumes}) != len(volumes):
        raise VolumesError("a volume is there twice")
    return volumes


def _volume(pairs: Any) -> Volume:
    files = tuple(_file(one) for one in pairs["files"])
    left_out = tuple(_text(path) for path in pairs["left_out"])
    if not is_root(_text(pairs["path"])) or len({file.path for file in files}) != len(files):
        raise VolumesError("a path is none, or there twice")
    return Volume(pairs["path"], _text(pairs["revision"]), files, left_out)


def _file(pairs: Any) -> PodFile:
    path, size, mode = _text(pairs["path"]), pairs["size"], pairs["mode"]
    if not is_relative(path) or type(size) is not int or type(mode) is not int or not 0 <= mode <= 0o777:
        raise VolumesError("a path leads out of its volume, or is malformed")
    content = b64decode(pairs["content"], validate=True) if "content" in pairs else None
    if size < 0 or (content is not None and len(content) != size):
        raise VolumesError("a size is wrong")
    return PodFile(path, size, mode, content)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    # a lone surrogate is no name of a file here
    value.encode()
    return value
