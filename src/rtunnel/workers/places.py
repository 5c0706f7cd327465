"""The files by which the processes of one server find each other, in a directory of their user alone."""

from __future__ import annotations

from pathlib import Path

import attrs

__all__ = ["Places"]


@attrs.frozen
class Places:
    """The directory; made and removed by the supervisor.

    :ivar directory: it.
    """

    directory: Path

    @property
    def registry(self) -> str:
        """Where the supervisor keeps the shared registry."""
        return str(self.directory / "registry.sock")

    @property
    def secret(self) -> str:
        """The file with the secret by which the workers know each other."""
        return str(self.directory / "secret")

    def notify(self, number: int) -> str:
        """Where a worker says how it is."""
        return str(self.directory / f"notify-{number}.sock")

    def peer(self, number: int, pid: int) -> str:
        """Where a worker takes requests of the others for its clients; another one for each process, since these come and go."""
        return str(self.directory / f"peer-{number}-{pid}.sock")

    def admin(self, pid: int) -> str:
        """Where a worker is asked: its own admin socket."""
        return str(self.directory / f"server-{pid}.sock")
