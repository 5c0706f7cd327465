"""``rtunnel files`` with real processes: a volume like a ConfigMap's, read, copied and followed while it is swapped."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from tests.process.test_users import HOST, _Case, user_line
from tests.support.processes import listening, rtunnel, run_rtunnel, wait_until


class FilesTests(_Case):
    def setUp(self) -> None:
        super().setUp()
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        (self.folder / "users").write_text("".join(user_line(user, f"secret of {user}") for user in ("pod", "alice", "bob")))
        (self.folder / "permissions").write_text(f"bind pod {HOST}\nfiles alice {HOST}\nreach,env,bind bob {HOST}\n")
        self.server = self.started(
            rtunnel(
                *("server", "--listen", f"127.0.0.1:{self.tunnel_port}", "--entrypoint", f"127.0.0.1:{self.port}"),
                *("--route", f"{HOST}={self.tunnel}", "--users", str(self.folder / "users")),
                *("--permissions", str(self.folder / "permissions")),
            )
        )
        wait_until(lambda: listening(self.port), f"the server listens\n{self.server.output}")
        self.volume = self.folder / "volume"
        self.swap(1)
        self.pod = self.started(
            rtunnel(
                *("client", "--server", f"127.0.0.1:{self.tunnel_port}", "--tunnel", self.tunnel),
                *("--target", f"127.0.0.1:{self.service.port}", "--files", f"/config={self.volume}"),
                env={"RTUNNEL_AUTH": "pod:secret of pod"},
            )
        )
        self.pod.wait_for("is known to others as")

    def swap(self, number: int) -> None:
        """Update the volume as the kubelet does."""
        self.volume.mkdir(exist_ok=True)
        data = self.volume / f"..2026_{number}"
        data.mkdir()
        for name in ("app.yaml", "limits.yaml"):
            (data / name).write_text(f"number: {number}\n")
            if not (self.volume / name).is_symlink():
                os.symlink(f"..data/{name}", self.volume / name)
        os.symlink(data.name, self.volume / "..data_tmp")
        os.replace(self.volume / "..data_tmp", self.volume / "..data")

    def words(self, *arguments: str) -> list[str]:
        where = ("--server", f"127.0.0.1:{self.tunnel_port}", "--tunnel", self.tunnel)
        return ["files", HOST, *where, *arguments]

    def files(self, *arguments: str, user: str = "alice", status: int = 0) -> str:
        done = run_rtunnel(*self.words(*arguments), env={"RTUNNEL_AUTH": f"{user}:secret of {user}"})
        self.assertEqual(done.returncode, status, done.stderr)
        self.assertNotIn("Traceback", done.stderr)
        return done.stdout if status == 0 else done.stderr

    def test_list_and_get(self) -> None:
        listed = [line.split()[0] for line in self.files().splitlines()]
        self.assertEqual(listed, ["path", "/config/app.yaml", "/config/limits.yaml"])
        self.assertEqual(self.files("get", "/config/app.yaml"), "number: 1\n")
        self.files("get", "/config/app.yaml", "-o", str(self.folder / "copy"))
        self.assertEqual((self.folder / "copy").read_text(), "number: 1\n")
        self.assertIn("gives out no /etc/passwd", self.files("get", "/etc/passwd", status=1))
        self.assertIn("is no file but a folder", self.files("get", "/config", status=1))
        self.assertIn("PATH: say which file", self.files("get", status=1))
        self.pod.wait_for("alice gets contents of files of the pod: /config/app.yaml")
        self.server.wait_for("contents of /config/app.yaml: /config/app.yaml")
        self.assertIn("do not allow the user bob to read files of this pod", self.files(user="bob", status=1))

    def test_follow(self) -> None:
        """An update is there within seconds, all of it at once; the copy stays when the command ends."""
        copy = self.folder / "copy"
        following = self.started(rtunnel(*self.words("sync", str(copy), "--follow"), env={"RTUNNEL_AUTH": "alice:secret of alice"}))
        following.wait_for(f"2 files of /config are in {copy}")
        config = copy / "config"
        self.assertEqual((config / "app.yaml").read_text(), "number: 1\n")
        for number in (2, 3):
            self.swap(number)
            following.wait_for("2 files of /config are in", number)
            self.assertEqual((config / "app.yaml").read_text(), f"number: {number}\n")
            self.assertEqual((config / "limits.yaml").read_text(), f"number: {number}\n")
        following.send(signal.SIGTERM)
        self.assertEqual(following.wait(), 128 + signal.SIGTERM)
        self.assertNotIn("Traceback", following.output)
        self.assertEqual((config / "app.yaml").read_text(), "number: 3\n")

    def test_once(self) -> None:
        self.files("sync", str(self.folder / "copy"))
        self.assertEqual((self.folder / "copy" / "config" / "limits.yaml").read_text(), "number: 1\n")
        taken = self.folder / "taken" / "config"
        taken.mkdir(parents=True)
        (taken / "app.yaml").write_text("mine")
        self.assertIn("remove what is there", self.files("sync", str(self.folder / "taken"), status=1))
        self.assertEqual((taken / "app.yaml").read_text(), "mine")
