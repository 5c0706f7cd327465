from __future__ import annotations

import os
import tarfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from release.archives import normalize

EPOCH = 1_800_000_000


class NormalizeTests(SynchronousTestCase):
    """Archives of the same content are the same bytes."""

    def archive(self, names: list[str], time: int, mode: int, packed: bool = True) -> Path:
        folder = Path(self.mktemp())
        folder.mkdir(parents=True)
        path = folder / ("x.tar.gz" if packed else "x.tar")
        with tarfile.open(path, "w:gz" if packed else "w") as archive:
            for name in names:
                (folder / name).write_text(name, encoding="utf-8")
                os.utime(folder / name, (time, time))
                (folder / name).chmod(mode)
                archive.add(folder / name, f"x/{name}")
        return path

    def test_same_bytes(self) -> None:
        for packed in (True, False):
            one = self.archive(["a", "b"], 1, 0o644, packed)
            other = self.archive(["b", "a"], 1_000_000_000, 0o600, packed)
            self.assertNotEqual(one.read_bytes(), other.read_bytes())
            for path in (one, other):
                normalize(path, EPOCH)
            self.assertEqual(one.read_bytes(), other.read_bytes())

    def test_content(self) -> None:
        path = self.archive(["b", "a"], 1, 0o755)
        normalize(path, EPOCH)
        with tarfile.open(path) as archive:
            members = archive.getmembers()
            contents = [file.read() for member in members if (file := archive.extractfile(member))]
        self.assertEqual(
            [(member.name, member.mode, member.mtime) for member in members], [("x/a", 0o755, EPOCH), ("x/b", 0o755, EPOCH)]
        )
        self.assertEqual(contents, [b"a", b"b"])
