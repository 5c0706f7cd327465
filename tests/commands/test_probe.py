"""``rtunnel probe``: each hop broken in turn."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

from rtunnel.outcomes import Outcome
from rtunnel.profiles.invitation import Invitation
from rtunnel.profiles.profile import profile_text
from rtunnel.profiles.store import ProfileStore
from rtunnel.server.entrypoint.answers import own_answer
from tests.commands.harness import CommandTestCase
from tests.commands.test_status import answering, http
from tests.support.ids import TUNNEL


def own(status: int, outcome: Outcome) -> bytes:
    return b"".join(own_answer(status, outcome, request_id=b"1", accept=b"text/plain", close=True))


class ProbeTests(CommandTestCase):
    def probe(self, answer: bytes, status: int, *hops: str) -> str:
        """Probe what answers so; the hops are those that were reached, of which the last one failed unless the status is 0."""
        with answering(answer) as address:
            found, output, errors = self.run_command("probe", f"http://{address}/x?y", "--header", "Host: a.local", "--json")
        reached = json.loads(output)
        self.assertEqual((found, errors), (status, ""), output)
        self.assertEqual([hop["hop"] for hop in reached], ["name", "connection", *hops])
        self.assertEqual([hop["ok"] for hop in reached[:-1]], [True] * (len(reached) - 1))
        self.assertEqual(reached[-1]["ok"], not status)
        return str(reached[-1]["text"])

    def test_served(self) -> None:
        self.assertEqual(self.probe(http(b"hello"), 0, "target"), "it answered 200 OK")
        served = http(b"", "404 Not Found").replace(b"\r\n", b"\r\nRtunnel-Served-By: 9c07a511\r\n", 1)
        self.assertEqual(self.probe(served, 0, "entrypoint", "target"), "it answered 404 Not Found")

    def test_our_own_answers(self) -> None:
        for status, outcome, hop, words in (
            (404, Outcome.UNKNOWN_HOST, "rule", "No service is published"),
            (503, Outcome.NO_CONNECTOR, "client", "No client is currently connected"),
            (502, Outcome.TARGET_FAILED, "target", "its log says why"),
            (504, Outcome.RESPONSE_TIMEOUT, "target", "--response-timeout"),
            (508, Outcome.LOOP, "target", "leads back"),
        ):
            self.assertIn(words, self.probe(own(status, outcome), 2, "entrypoint", hop))

    def test_ingress(self) -> None:
        for status in ("404 Not Found", "502 Bad Gateway", "503 Service Temporarily Unavailable", "504 Gateway Timeout"):
            self.assertIn("not by the entrypoint", self.probe(http(b"<center>nginx</center>", status), 1, "answer"))

    def test_no_http(self) -> None:
        self.probe(b"SSH-2.0-x\r\n", 1, "answer")
        self.probe(b"", 1, "answer")

    def test_nothing_listens(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        status, output, _ = self.run_command("probe", f"http://127.0.0.1:{port}/")
        self.assertEqual(status, 1)
        self.assertRegex(output, r"name +ok +127.0.0.1 is 127.0.0.1\nconnection +FAILED +Connection refused\n")

    def test_no_name(self) -> None:
        status, output, _ = self.run_command("probe", "http://nothing.invalid/")
        self.assertEqual(status, 1)
        self.assertRegex(output, r"\Aname +FAILED +\S")

    def test_no_tls(self) -> None:
        with answering(http(b"")) as address:
            status, output, _ = self.run_command("probe", f"https://{address}/")
        self.assertEqual(status, 1)
        self.assertRegex(output, r"\nTLS +FAILED +\S")

    def test_profile(self) -> None:
        """Its name stands for the URL of its host, also for ``status --check``."""
        os.environ["XDG_CONFIG_HOME"] = str(Path(self.mktemp()).absolute())
        with answering(http(b"hello")) as address:
            invitation = Invitation("shop", "127.0.0.1", f"ws://{address}/proxy", TUNNEL)
            ProfileStore(os.environ).write("shop", profile_text(invitation, None), None)
            status, output, _ = self.run_command("probe", "shop")
        self.assertEqual(status, 0)
        self.assertIn("target     ok      it answered 200 OK\n", output)
        with answering(http(b"hello")) as address:
            invitation = Invitation("shop", "nothing.invalid", f"ws://{address}/proxy", TUNNEL, host_header="nothing.invalid")
            ProfileStore(os.environ).write("shop", profile_text(invitation, None), None)
            self.assertEqual(self.run_command("status", "shop", "--check")[0], 0)
        ProfileStore(os.environ).path("shop").chmod(0o644)
        self.assertIn("chmod 600", self.run_command("probe", "shop")[2])

    def test_silence(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            status, output, _ = self.run_command("probe", f"http://127.0.0.1:{server.getsockname()[1]}/", "--timeout", "0.05")
        self.assertEqual(status, 1)
        self.assertRegex(output, r"\nanswer +FAILED +nothing within 0.05 s\n")

    def test_arguments(self) -> None:
        for words in (("shop.example.org",), ("ftp://a/",), ("http://a:b/",), ("http://a/", "--header", "x")):
            status, _, errors = self.run_command("probe", *words)
            self.assertEqual((status, errors.count("\n")), (1, 1), words)
