"""Other programs."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

__all__ = ["ReleaseError", "run"]


class ReleaseError(Exception):
    """What is wrong and what to do about it, for the terminal."""


def run(*command: str, folder: Path, env: Mapping[str, str] | None = None) -> str:
    """Run a program; returns what it printed to stdout.

    :param folder: where it runs.
    :param env: variables beside those of this process.
    :raises ReleaseError: it is missing, or it failed.
    """
    try:
        done = subprocess.run(command, cwd=folder, env={**os.environ, **(env or {})}, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise ReleaseError(f"{command[0]} is missing") from error
    if done.returncode:
        raise ReleaseError(f"{' '.join(command)} failed with status {done.returncode}:\n{done.stdout}{done.stderr}".rstrip())
    return done.stdout
