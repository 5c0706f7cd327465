"""The folder of profiles of a user: ``~/.config/rtunnel/profiles``, or below ``XDG_CONFIG_HOME``; nobody else may open any of it.

A profile is the file ``NAME.yaml``; the CA of its server, if it has one of its own, is ``NAME.ca.pem`` beside it.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from rtunnel.podenv.private_file import write_private
from rtunnel.settings import SettingsError

__all__ = ["MAX_BYTES", "ProfileStore", "is_name"]

MAX_BYTES: Final = 2**18
"""Maximum size of a profile, and of a CA."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", re.ASCII)
_FILE = ".yaml"
_CA = ".ca.pem"


def is_name(text: str) -> bool:
    """Whether something can be the name of a profile: letters, digits, ``-`` and ``_``; a host with a dot cannot."""
    return _NAME.fullmatch(text) is not None


class ProfileStore:
    """The profiles of one user.

    :param environ: the environment, which says where they are.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        above = environ.get("XDG_CONFIG_HOME", "")
        # a relative one counts as none: XDG Base Directory Specification 0.8, "Environment variables"
        home = Path(environ.get("HOME") or os.path.expanduser("~"))
        self.folder = (Path(above) if os.path.isabs(above) else home / ".config") / "rtunnel" / "profiles"

    def names(self) -> list[str]:
        """The names of all profiles, sorted."""
        try:
            files = os.listdir(self.folder)
        except OSError:
            return []
        names = (file.removesuffix(_FILE) for file in files if file.endswith(_FILE))
        return sorted(name for name in names if is_name(name))

    def __contains__(self, name: str) -> bool:
        return is_name(name) and self.path(name).exists()

    def path(self, name: str) -> Path:
        """The file of a profile."""
        return self.folder / f"{name}{_FILE}"

    def ca_path(self, name: str) -> Path:
        """The file of its CA."""
        return self.folder / f"{name}{_CA}"

    def read(self, name: str) -> str:
        """The text of a profile.

        :raises SettingsError: there is none, others could have changed or read it, or it cannot be read.
        """
        path = self.path(name)
        try:
            _check_private(self.folder, os.stat(self.folder), "700")
            with path.open("rb") as file:
                _check_private(path, os.fstat(file.fileno()), "600")
                data = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise SettingsError(str(path), None, f"cannot be read: {error.strerror or error}") from None
        if len(data) > MAX_BYTES:
            raise SettingsError(str(path), None, f"larger than {MAX_BYTES // 2**10} KiB; is it a profile?")
        try:
            return data.decode()
        except UnicodeDecodeError:
            raise SettingsError(str(path), None, "not UTF-8; save it in that encoding") from None

    def write(self, name: str, text: str, ca: str | None) -> None:
        """Write a profile, in place of one of that name.

        :param ca: the CA of its server, in PEM.
        :raises SettingsError: it cannot be written.
        """
        try:
            for folder in (self.folder.parent, self.folder):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _check_private(self.folder, os.stat(self.folder), "700")
            if ca is not None:
                write_private(str(self.ca_path(name)), ca.encode())
            write_private(str(self.path(name)), text.encode())
            if ca is None:
                self.ca_path(name).unlink(missing_ok=True)
        except OSError as error:
            raise SettingsError(str(self.path(name)), None, f"cannot be written: {error.strerror or error}") from None

    def remove(self, name: str) -> None:
        """Remove a profile.

        :raises SettingsError: it cannot be removed.
        """
        try:
            self.path(name).unlink()
            self.ca_path(name).unlink(missing_ok=True)
        except OSError as error:
            raise SettingsError(str(self.path(name)), None, f"cannot be removed: {error.strerror or error}") from None
        with suppress(OSError):
            # if it was the last one
            self.folder.rmdir()


def _check_private(path: Path, status: os.stat_result, mode: str) -> None:
    """Check that a file belongs to the user, and that nobody else may open it.

    :param mode: that it should have, for the hint.
    :raises SettingsError: otherwise.
    """
    if not hasattr(os, "geteuid"):
        # Windows, where the folder of a user is their own
        return
    if status.st_uid != os.geteuid():
        raise SettingsError(str(path), None, "belongs to somebody else, and is not used; a profile belongs to its user")
    if stat.S_IMODE(status.st_mode) & 0o077:
        raise SettingsError(str(path), None, f"is open to other users, and holds a password; run: chmod {mode} {path}")
