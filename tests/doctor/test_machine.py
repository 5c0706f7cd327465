"""What is said of a machine, with settings of a system that the test plays."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from rtunnel.doctor import machine
from rtunnel.doctor.findings import Finding, State, failed, limited, ok, worst
from rtunnel.doctor.machine import look_at_machine, namespaces
from rtunnel.profiles.invitation import Invitation
from rtunnel.profiles.profile import profile_text
from rtunnel.profiles.store import ProfileStore
from tests.support.ids import TUNNEL
from tests.test_docs import DOCS


class FindingTests(SynchronousTestCase):
    def test_worst(self) -> None:
        self.assertIs(worst([]), State.OK)
        self.assertIs(worst([ok("a", ""), limited("b", ""), ok("c", "")]), State.LIMITED)
        self.assertIs(worst([failed("a", ""), limited("b", "")]), State.FAILED)


class MachineTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir(parents=True, mode=0o700)
        self.environ = {"HOME": str(self.folder)}

    def found(self, name: str, proc: Mapping[str, str] | None = None, **environ: str) -> Finding:
        findings = look_at_machine({**self.environ, **environ}, lambda path: (proc or {}).get(path, ""))
        (finding,) = [finding for finding in findings if finding.name == name]
        return finding

    def test_versions(self) -> None:
        self.assertIn(f"Python {sys.version_info.major}.{sys.version_info.minor}", self.found("versions").text)
        self.patch(machine, "OLDEST", (9, 9))
        self.assertIs(self.found("versions").state, State.FAILED)

    def test_loopback(self) -> None:
        expected = State.OK if sys.platform == "linux" else State.LIMITED
        self.assertIs(self.found("loopback").state, expected)
        self.patch(machine, "LOOPBACK", "203.0.113.1")
        self.assertIn("no address of 127.77.0.0/16", self.found("loopback").text)

    def test_low_ports(self) -> None:
        self.patch(os, "geteuid", lambda: 1000)
        self.assertIn("below 1024", self.found("low ports").text)
        self.assertIs(self.found("low ports", {"sys/net/ipv4/ip_unprivileged_port_start": "80"}).state, State.OK)
        self.patch(os, "geteuid", lambda: 0)
        self.assertIs(self.found("low ports").state, State.OK)

    def test_runtime_folder(self) -> None:
        self.assertIs(self.found("runtime folder").state, State.LIMITED)
        self.assertIs(self.found("runtime folder", XDG_RUNTIME_DIR=str(self.folder)).state, State.OK)
        self.folder.chmod(0o755)
        self.assertIn("chmod 700", self.found("runtime folder", XDG_RUNTIME_DIR=str(self.folder)).hint)
        self.assertIn("No such file", self.found("runtime folder", XDG_RUNTIME_DIR="/nowhere").text)

    def test_proxies(self) -> None:
        """Their URLs may hold passwords, and are not shown."""
        self.assertIs(self.found("proxies").state, State.OK)
        finding = self.found("proxies", HTTPS_PROXY="http://ada:swordfish@proxy:3128")
        self.assertIs(finding.state, State.LIMITED)
        self.assertNotIn("swordfish", str(finding))
        self.assertIs(self.found("proxies", HTTPS_PROXY="http://proxy:3128", no_proxy="localhost").state, State.OK)

    def test_variables(self) -> None:
        finding = self.found("variables", RTUNNEL_AUTH="ada:swordfish")
        self.assertIn("RTUNNEL_AUTH", finding.text)
        self.assertNotIn("swordfish", str(finding))
        self.assertIn("did you mean RTUNNEL_TARGET?", self.found("variables", RTUNNEL_TARGETS=":80").text)

    def test_profiles(self) -> None:
        store = ProfileStore(self.environ)
        store.write("shop", profile_text(Invitation("shop", "h", "s:1", TUNNEL), None), None)
        self.assertEqual(self.found("profiles"), ok("profiles", "shop"))
        store.path("shop").chmod(0o644)
        self.assertIn("chmod 600", self.found("profiles").text)

    def test_page(self) -> None:
        """docs/profiles.md explains each of them."""
        page = (DOCS / "profiles.md").read_text(encoding="utf-8")
        for finding in look_at_machine(self.environ):
            self.assertIn(f"\n| `{finding.name}` |", page)

    def test_other_systems(self) -> None:
        """Without Linux there are no namespaces, and nothing is asked."""
        work = namespaces(None, "darwin")
        stopped = self.assertRaises(StopIteration, work.send, None)
        self.assertIn("need Linux", stopped.value.text)
