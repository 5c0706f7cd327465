"""Archives that are the same each time that they are made of the same commit."""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path

__all__ = ["normalize"]


def normalize(path: Path, epoch: int) -> None:
    """Write a ``.tar`` or ``.tar.gz`` anew: its members in the order of their names, without owners, all of the same time.

    :param epoch: that time, in seconds since 1970.
    """
    with tarfile.open(path) as archive:
        members = [(member, archive.extractfile(member)) for member in archive.getmembers()]
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w", format=tarfile.PAX_FORMAT) as written:
            for member, file in sorted(members, key=lambda entry: entry[0].name):
                member.mtime = epoch
                member.uid = member.gid = 0
                member.uname = member.gname = ""
                member.pax_headers = {}
                member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
                written.addfile(member, file)
    if path.suffix != ".gz":
        path.write_bytes(content.getvalue())
        return
    with path.open("wb") as plain, gzip.GzipFile("", "wb", 9, plain, mtime=epoch) as packed:
        packed.write(content.getvalue())
