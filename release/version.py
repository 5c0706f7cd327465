"""The version: in ``src/rtunnel/__init__.py``, and wherever an image or the chart repeats it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from release.commands import ReleaseError

__all__ = ["current", "mentions", "set_version"]

_NUMBER = r"\d+\.\d+\.\d+"
_SOURCE = Path("src", "rtunnel", "__init__.py")
_PLACES: Final = {
    _SOURCE: rf'(?<=^__version__ = "){_NUMBER}(?="$)',
    Path("deploy", "helm", "rtunnel", "Chart.yaml"): rf"(?<=^version: ){_NUMBER}$|(?<=^appVersion: ){_NUMBER}$",
}
_IMAGE = rf"(?<=\brtunnel:){_NUMBER}\b|(?<=\bnewTag: ){_NUMBER}\b"
"""Names of our image, and kustomize's tag for it."""
_WITH_IMAGES: Final = ("Dockerfile", "README.md", "deploy", "docs", "examples", "src", "tests/data/inject")


def current(root: Path) -> str:
    """Return the version of a tree."""
    found = re.search(_PLACES[_SOURCE], (root / _SOURCE).read_text(encoding="utf-8"), re.MULTILINE)
    assert found is not None, _SOURCE
    return found[0]


def mentions(root: Path) -> Iterator[tuple[Path, str]]:
    """Yield each mention of the version in a tree: the file, relative to the root, and the version there."""
    for path, pattern in _files(root):
        for version in re.findall(pattern, (root / path).read_text(encoding="utf-8"), re.MULTILINE):
            yield path, version


def set_version(root: Path, version: str) -> None:
    """Write another version wherever it is mentioned in a tree.

    :raises ReleaseError: it is no version.
    """
    if not re.fullmatch(_NUMBER, version):
        raise ReleaseError(f'"{version}" is no version; write three numbers, such as 0.2.0')
    for path, pattern in list(_files(root)):
        text = (root / path).read_text(encoding="utf-8")
        changed = re.sub(pattern, version, text, flags=re.MULTILINE)
        if changed != text:
            (root / path).write_text(changed, encoding="utf-8")


def _files(root: Path) -> Iterator[tuple[Path, str]]:
    """Yield the files that may mention the version, with the expression that finds it there."""
    yield from _PLACES.items()
    for name in _WITH_IMAGES:
        top = root / name
        for path in sorted(top.rglob("*")) if top.is_dir() else [top]:
            if path.suffix in ("", ".md", ".py", ".tpl", ".txt", ".yaml") and path.is_file():
                yield path.relative_to(root), _IMAGE
