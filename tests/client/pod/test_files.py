"""Files of a pod, from its client to a developer's machine, in memory."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from twisted.internet.defer import Deferred

from rtunnel.client.pod.asking import PodAskFailed, ask_files, over_link
from rtunnel.client.pod.copies import INTERVAL
from rtunnel.client.pod.link import PodLinkClient
from rtunnel.commands import files
from rtunnel.podfiles.volumes import Volume, revision_of
from rtunnel.routing.reach import ReachRules
from rtunnel.settings import Address, FileRoot, ServerConnectionSettings, SettingsError
from rtunnel.wire.pod import PodService
from tests.server.pods import PodCase
from tests.server.test_leases import Way
from tests.support.ids import TUNNEL


class FilesTests(PodCase):
    permissions = "bind,files * pod.local"

    def setUp(self) -> None:
        super().setUp()
        self.folder = Path(self.mktemp()).absolute()
        for name, text in {"config/app.yaml": "a: 1", "config/tls/key": "secret", "other/x": "y", "hidden/z": "z"}.items():
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / name).write_text(text)
        roots = (FileRoot("/config", str(self.folder / "config")), FileRoot("/other", str(self.folder / "other")))
        self.client_in_pod = self.pod(reach=ReachRules(), files=roots)

    def ask(self, path: str = "", *, contents: bool = True, have: str = "") -> Deferred[list[Volume]]:
        way = Way(self.place)
        self.ways.append(way)
        settings = ServerConnectionSettings(server=Address("server", 8421), transport="tcp", tunnel=TUNNEL, mux=self.mux)
        link = PodLinkClient(settings, "pod.local", reactor=self.clock, endpoint=way)
        asked = Deferred.fromCoroutine(over_link(link, self.clock, partial(ask_files, path=path, contents=contents, have=have)))
        self.settle()
        return asked

    def contents(self, path: str = "") -> dict[str, bytes | None]:
        volumes = self.successResultOf(self.ask(path))
        return {f"{volume.path}/{file.path}": file.content for volume in volumes for file in volume.files}

    def failed(self, path: str = "") -> PodAskFailed:
        error: PodAskFailed = self.failureResultOf(self.ask(path), PodAskFailed).value
        return error

    def test_all(self) -> None:
        """Both ends log the names, and no content."""
        self.assertEqual(self.contents(), {"/config/app.yaml": b"a: 1", "/config/tls/key": b"secret", "/other/x": b"y"})
        self.heard("files of an anonymous user", "contents of all: /config/app.yaml, /config/tls/key, /other/x")
        self.heard("an anonymous user gets contents of files of the pod: /config/app.yaml, /config/tls/key, /other/x")
        self.assertNotIn("secret", "\n".join(self.lines))

    def test_some(self) -> None:
        self.assertEqual(self.contents("/config/app.yaml"), {"/config/app.yaml": b"a: 1"})
        self.assertEqual(self.contents("/config/tls"), {"/config/tls/key": b"secret"})
        self.assertEqual(set(self.contents("/config")), {"/config/app.yaml", "/config/tls/key"})

    def test_nothing_else(self) -> None:
        """Whatever is asked for."""
        for path in (
            "/hidden/z",
            "/etc/passwd",
            "/config/../hidden/z",
            "/config/none",
            "config",
            "/conf",
            "/config/tls/../app.yaml",
        ):
            failed = self.failed(path)
            self.assertIn("gives out no", str(failed))
            self.assertTrue(failed.final)

    def test_names(self) -> None:
        volumes = self.successResultOf(self.ask(contents=False))
        self.assertEqual({file.content for volume in volumes for file in volume.files}, {None})

    def test_changes(self) -> None:
        """Nothing is sent, and nothing logged, as long as there are none."""
        volumes = self.successResultOf(self.ask())
        have = revision_of(volumes)
        before = sum("gets contents" in line or "files of" in line for line in self.lines)
        self.assertEqual(self.successResultOf(self.ask(have=have)), [])
        self.assertEqual(sum("gets contents" in line or "files of" in line for line in self.lines), before)
        (self.folder / "other" / "x").write_text("changed")
        changed = self.successResultOf(self.ask(have=have))
        self.assertEqual(changed[1].files[0].content, b"changed")

    def follow(self) -> tuple[PodLinkClient, Path, list[object]]:
        """A copy that follows; what came of it."""
        link, copy = self.machine(), self.folder / "copy"
        ended: list[object] = []
        Deferred.fromCoroutine(files.sync(link, copy, follow=True)).addBoth(ended.append)
        self.settle()
        return link, copy, ended

    def test_following_over_a_lost_link(self) -> None:
        """The copy stays as it is, and is brought up to date when the link is back; one line says so."""
        _, copy, ended = self.follow()
        self.assertEqual((copy / "other" / "x").read_text(), "y")
        (self.folder / "other" / "x").write_text("changed")
        self.wait(INTERVAL + 1)
        self.assertEqual((copy / "other" / "x").read_text(), "changed")
        self.place.group.listener.stopping = True
        self.way_of_machine.pipes[-1].break_link()
        (self.folder / "other" / "x").write_text("changed again")
        self.wait(60)
        self.assertEqual((copy / "other" / "x").read_text(), "changed")
        self.assertEqual(sum("the copy is not brought up to date for now" in line for line in self.lines), 1)
        self.place.group.listener.stopping = False
        self.wait(30)
        self.assertEqual(((copy / "other" / "x").read_text(), ended), ("changed again", []))

    def test_following_what_is_not_given_any_more(self) -> None:
        """The command ends."""
        _, copy, ended = self.follow()
        self.assertTrue((copy / "config").is_dir())
        self.client_in_pod.pod._services = {PodService.ENV: lambda *_: None}
        self.wait(INTERVAL + 1)
        (failed,) = ended
        self.assertIn("does not offer files", str(failed))

    def test_unreadable(self) -> None:
        (self.folder / "other" / "x").unlink()
        (self.folder / "other").rmdir()
        self.assertIn("/other: cannot be read: No such file", str(self.failed()))
        self.heard("gets no files of the pod: /other: cannot be read")
        self.assertEqual(set(self.contents("/config")), {"/config/app.yaml", "/config/tls/key"})

    def test_rights(self) -> None:
        self.permit("bind,env,reach * pod.local")
        failed = self.failed()
        self.assertIn("the permissions of the server do not allow", str(failed))
        self.assertTrue(failed.final)

    def test_settings(self) -> None:
        self.assertEqual(str(FileRoot.parse("/config=/pod/config")), "/config=/pod/config")
        self.assertEqual(FileRoot.parse("/config"), FileRoot("/config", "/config"))
        for text in ("config", "/", "/a/../b", "/a=b", "", "/a/"):
            self.assertRaises(ValueError, FileRoot.parse, text)
        self.assertRaises(SettingsError, self.client, "a", "path=/", files=(FileRoot("/a", "/a"),))
