"""What the image is made of, pinned: its base by digest, its wheels by hashes."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path
from typing import Final

from build_backend import needed_to_compile
from release.commands import ReleaseError, run

__all__ = ["EXTRAS", "lock", "pin_base"]

EXTRAS: Final = ("redis", "regex")
"""The extras of rtunnel that the image has."""
_BASE = re.compile(r"(?<=^ARG BASE=)([^@\s]+)@(sha256:[0-9a-f]{64})$", re.MULTILINE)


def lock(root: Path) -> None:
    """Write ``requirements.lock`` and ``requirements-build.lock``: the newest versions that setup.cfg and pyproject.toml allow.

    The second has what compiled modules need, too: mypyc, and what rtunnel itself needs, in the versions that the image gets.
    Markers and hashes are for every system and each Python from the oldest that rtunnel runs with.
    """
    extras = [word for extra in EXTRAS for word in ("--extra", extra)]
    _compile(root, "setup.cfg", *extras, output="requirements.lock")
    with (root / "pyproject.toml").open("rb") as file:
        needed = [*tomllib.load(file)["build-system"]["requires"], *needed_to_compile()]
    source = root / "requirements-build.in"
    source.write_text("\n".join(needed) + "\n", encoding="utf-8")
    try:
        _compile(root, source.name, "--constraint", "requirements.lock", output="requirements-build.lock")
    finally:
        source.unlink()


def _compile(root: Path, source: str, *options: str, output: str) -> None:
    common = ("--quiet", "--universal", "--python-version", "3.11", "--generate-hashes", "--no-annotate", "--upgrade")
    command = (sys.executable, "-m", "uv", "pip", "compile", source, *options, *common, "--output-file", output)
    run(*command, folder=root, env={"UV_CUSTOM_COMPILE_COMMAND": "make lock"})


def pin_base(root: Path) -> None:
    """Ask the registry which digest the tag of the image's base has now, and write it into the Dockerfile.

    :raises ReleaseError: skopeo is missing, or the registry does not answer.
    """
    path = root / "Dockerfile"
    text = path.read_text(encoding="utf-8")
    pinned = _BASE.search(text)
    if pinned is None:
        raise ReleaseError("the Dockerfile has no line ARG BASE=NAME:TAG@sha256:...")
    name, digest = pinned.groups()
    newest = run("skopeo", "inspect", "--no-tags", "--format", "{{.Digest}}", f"docker://{name}", folder=root).strip()
    path.write_text(text.replace(digest, newest), encoding="utf-8")
    print(f"{name} is {newest}, as before" if newest == digest else f"{name}: {newest} instead of {digest}")
