"""Which files of its pod a client gives out."""

from __future__ import annotations

import os

import attrs

from rtunnel.settings.checks import SettingsError

__all__ = ["FileRoot"]


@attrs.frozen
class FileRoot:
    """A volume whose files are given out.

    :ivar path: where the application has it.
    :ivar directory: where the client has it; the same by default.
    """

    path: str
    directory: str

    def __attrs_post_init__(self) -> None:
        for path in (self.path, self.directory):
            if not path.startswith("/") or path == "/" or os.path.normpath(path) != path or "," in path or "\0" in path:
                raise SettingsError("files", path, "not an absolute path of a volume, without . and .., e.g. /config=/pod/config")

    @classmethod
    def parse(cls, text: str) -> FileRoot:
        """Read a volume as a user writes it.

        :raises ValueError: a path is none.
        """
        path, equals, directory = text.strip().partition("=")
        try:
            return cls(path, directory if equals else path)
        except SettingsError as error:
            raise ValueError(error.hint) from None

    def __str__(self) -> str:
        return self.path if self.path == self.directory else f"{self.path}={self.directory}"
