"""kubectl, for the commands that may be told to call it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from typing import Final

from rtunnel.cli.exit_status import CommandError, ExitStatus

__all__ = ["apply", "build"]

_BUILDERS: Final = (("kubectl", "kustomize"), ("kustomize", "build"))
"""What makes manifests of a folder for kustomize."""


def apply(text: str) -> int:
    """Apply manifests, where the user's kubectl is told to; returns its exit status.

    :raises CommandError: there is no kubectl.
    """
    hint = "--apply runs kubectl, which is not in PATH; pipe the output to it where it is"
    command = _find((("kubectl", "apply", "--filename", "-"),), hint)
    return subprocess.run(command, input=text, encoding="utf-8", check=False).returncode


def build(folder: str) -> str:
    """The manifests of a folder for kustomize.

    :raises CommandError: there is neither kubectl nor kustomize, or it fails.
    """
    hint = '-k runs "kubectl kustomize" or "kustomize build", and neither is in PATH; pipe their output instead'
    done = subprocess.run([*_find(_BUILDERS, hint), folder], stdout=subprocess.PIPE, encoding="utf-8", check=False)
    if done.returncode:
        raise CommandError(f"{folder}: kustomize failed, with status {done.returncode}")
    return done.stdout


def _find(commands: Sequence[Sequence[str]], hint: str) -> list[str]:
    """The first command whose program there is."""
    for name, *arguments in commands:
        program = shutil.which(name)
        if program is not None:
            return [program, *arguments]
    raise CommandError(hint, ExitStatus.NOT_FOUND)
