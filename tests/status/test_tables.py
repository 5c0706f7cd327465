"""The status as tables."""

from __future__ import annotations

from io import StringIO
from typing import Any

import attrs
from rich.console import Console
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.ops.status import OtherStatus, PortStatus, ServiceStatus, ShareStatus, TargetStatus
from rtunnel.status.tables import bytes_text, duration_text, tables
from tests.commands.test_status import document
from tests.ops.test_status import FULL


def shown(status: dict[str, Any], width: int = 200) -> str:
    out = StringIO()
    console = Console(file=out, width=width)
    for part in tables(status):
        console.print(part)
    return out.getvalue()


class TableTests(SynchronousTestCase):
    def test_no_connector(self) -> None:
        self.assertIn("connectors: none", shown(document(ServiceStatus(role="client"))))

    def test_a_visitor(self) -> None:
        """Only what it has: its ports."""
        port = PortStatus(address="*:2222", to="ssh.svc", tunnel="2f1c1d2e", server="server:8421", connections=1)
        text = shown(document(ServiceStatus(role="visitor", ports=(port,))))
        self.assertRegex(
            text, r"local ports\s+address +leads to +tunnel +server +connections *\n\*:2222 +ssh.svc +2f1c1d2e +server:8421 +1"
        )
        for word in ("connectors", "tunnels", "attach"):
            self.assertNotIn(word, text)

    def test_an_older_process(self) -> None:
        """Has no ports and no networks."""
        status = document()
        del status["ports"], status["connectors"][0]["network"]
        text = shown(status)
        self.assertNotIn("local ports", text)
        self.assertRegex(text, "10bc451e +joined")

    def test_an_error(self) -> None:
        status = document()
        status["errors"] = [{"time": "2026-01-31T12:00:00.000Z", "level": "warn", "text": "oh", "times": 3}]
        self.assertIn("oh (3 times)", shown(status))

    def test_nothing_colours_the_terminal_or_is_markup(self) -> None:
        status = document()
        status["connectors"][0]["user"] = "[red]\x1b[31mroot\r"
        self.assertIn(r"[red]\x1b[31mroot\r", shown(status))

    def test_intercepts(self) -> None:
        """A table of their own, where there are any."""
        status = document()
        self.assertNotIn("intercepts", shown(status))
        status["connectors"][0].update({"name": "alice\x1b", "intercept": ["header:x-user=alice", "path^=/a"]})
        text = shown(status)
        self.assertRegex(text, r"intercepts\s+connector +who +requests with *\n\w+ +alice\\x1b +header:x-user=alice or path\^=/a")
        del status["connectors"][0]["intercept"]
        self.assertNotIn("intercepts", shown(status))

    def test_columns_that_say_nothing(self) -> None:
        """Users where there are none, and the network where it is always TCP: a terminal has 80 columns."""
        status = document()
        text = shown(status, 80)
        for word in ("network", "user", "tcp "):
            self.assertNotIn(word, text)
        self.assertRegex(text, r"(?m)^0a0b0c0d +10bc451e +joined +1 +192.0.2.1:5 +4 *$")
        self.assertRegex(text, r"(?m)^0a0b0c0d +2001-09-\d\d \d\d:46:40 +3 +5 B +6 B +250.0 ms *$")
        status["connectors"][0].update({"network": "udp", "user": "ada"})
        for word in ("network", "user", "udp", "ada"):
            self.assertIn(word, shown(status))

    def test_a_client(self) -> None:
        """Its targets, its share and the others of its tunnel."""
        connector = attrs.evolve(
            FULL.connectors[0],
            target="localhost:9",
            targets=(TargetStatus(address="localhost:9", state="refused", since=1_000_000_000.0, reason="the \x1b"),),
            hosts=("shop.local",),
            share=ShareStatus(part=1, whole=2, text="you get 1 of 2 requests (50 %)"),
            others=(OtherStatus(name="pod", what="weight 1"),),
        )
        text = shown(document(ServiceStatus(role="client", connectors=(connector,))))
        self.assertRegex(text, r"targets\s+target +state +since +why *\nlocalhost:9 +refused +2001-09-\d\d \S+ +the \\x1b")
        self.assertRegex(text, r"shares\s+connector +hosts +share *\n\w+ +shop.local +you get 1 of 2 requests \(50 %\)")
        self.assertRegex(text, r"others on the tunnel\s+tunnel +who +what *\n10bc451e +pod +weight 1")

    def test_leases(self) -> None:
        """A table of those with a reason or an end."""
        status = document()
        self.assertNotIn("leases", shown(status))
        status["connectors"][0].update({"name": "alice", "reason": "PROJ\x1b", "until": "2026-01-31T12:00:00.000Z"})
        self.assertRegex(shown(status), r"leases\s+connector +who +reason +until *\n\w+ +alice +PROJ\\x1b +2026-01-31 ")

    def test_shared_registry(self) -> None:
        status = document()
        self.assertNotIn("shared registry", shown(status))
        state = {"address": "redis://r:6379", "state": "unavailable", "servers": 2, "connectors": 7, "published": 5}
        status["registry"] = [{**state, "reason": "it does not answer"}]
        self.assertRegex(shown(status), r"shared registry\s+address.*\nredis://r:6379 +unavailable +2 +7 +5 +it does not answer")

    def test_the_kernels_estimate_is_marked(self) -> None:
        status = document()
        status["connectors"][0]["round_trip"] = {"seconds": 0.0421, "by": "tcp"}
        self.assertIn("42.1 ms (tcp)", shown(status))


class WordsTests(SynchronousTestCase):
    def test_durations(self) -> None:
        for seconds, text in ((0.4, "0s"), (59.9, "59s"), (65, "1m 5s"), (7380, "2h 3m"), (90000, "1d 1h")):
            self.assertEqual(duration_text(seconds), text)

    def test_bytes(self) -> None:
        for size, text in ((0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 * 2**30, "5.0 GiB"), (3 * 2**40, "3.0 TiB")):
            self.assertEqual(bytes_text(size), text)
