"""The private folder of a run: whose it is, and who removes it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from rtunnel.running.state import RunFolder
from tests.support.processes import ROOT

CRASH = """
import os, sys
from rtunnel.running.state import RunFolder
folder = RunFolder(os.environ)
(folder.path / "secret").write_text("x")
print(folder.path, flush=True)
os.kill(os.getpid(), 9)
"""


class FolderTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.session = Path(self.mktemp()).absolute()
        self.session.mkdir(mode=0o700)
        self.environ = {"XDG_RUNTIME_DIR": str(self.session)}

    def make(self) -> RunFolder:
        folder = RunFolder(self.environ)
        self.addCleanup(folder.remove)
        return folder

    def test_private(self) -> None:
        folder = self.make()
        self.assertEqual(folder.path.parent, self.session / "rtunnel")
        for path in (folder.path, folder.path.parent, folder.folder("files")):
            self.assertEqual(path.stat().st_mode & 0o777, 0o700)
        folder.remove()
        self.assertFalse(folder.path.exists())
        folder.remove()

    def test_crash(self) -> None:
        """The next run removes what is left, and nothing of those that live."""
        living = self.make()
        done = subprocess.run(
            [sys.executable, "-c", CRASH], env={**os.environ, **self.environ}, capture_output=True, text=True, cwd=ROOT, check=False
        )
        left = Path(done.stdout.strip())
        self.assertTrue((left / "secret").exists())
        other = self.make()
        self.assertFalse(left.exists())
        self.assertTrue(living.path.exists())
        self.assertNotEqual(living.path, other.path)

    def test_other_users(self) -> None:
        """A folder that others can write to, or a link, is not used."""
        base = self.session / "rtunnel"
        base.mkdir()
        base.chmod(0o777)
        self.assertRaises(PermissionError, RunFolder, self.environ)
        base.rmdir()
        (self.session / "elsewhere").mkdir(mode=0o700)
        base.symlink_to(self.session / "elsewhere")
        self.assertRaises(PermissionError, RunFolder, self.environ)

    def test_without_a_session(self) -> None:
        """In the folder for temporary files, with the user in its name."""
        temporary = str(self.session)
        self.patch(__import__("tempfile"), "tempdir", temporary)
        folder = RunFolder({})
        self.addCleanup(folder.remove)
        self.assertEqual(folder.path.parent, Path(temporary, f"rtunnel-{os.geteuid()}"))
        gone = RunFolder({"XDG_RUNTIME_DIR": str(self.session / "none")})
        self.addCleanup(gone.remove)
        self.assertEqual(gone.path.parent, folder.path.parent)
