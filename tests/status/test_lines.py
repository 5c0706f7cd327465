"""The status as lines, one for each change."""

from __future__ import annotations

import re
from copy import deepcopy
from typing import Any

import attrs
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.ops.status import OtherStatus, PortStatus, ServiceStatus, ShareStatus, TargetStatus
from rtunnel.status.lines import changed_lines
from tests.commands.test_status import document
from tests.ops.test_status import FULL

CLIENT = ServiceStatus(
    role="client",
    connectors=(
        attrs.evolve(
            FULL.connectors[0],
            target="localhost:9",
            targets=(TargetStatus(address="localhost:9", state="refused"),),
            share=ShareStatus(part=1, whole=2, text="you get 1 of 2 requests (50 %)"),
            others=(OtherStatus(name="pod", what="weight 1"),),
        ),
    ),
)


def lines(before: dict[str, Any] | None, now: dict[str, Any]) -> list[str]:
    """Without the time."""
    found = list(changed_lines(before, now))
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[+-]\d{4} ", line) for line in found)
    return [line.split(" ", 2)[2] for line in found]


class LineTests(SynchronousTestCase):
    def test_at_first(self) -> None:
        """Everything."""
        now = document(CLIENT)
        self.assertEqual(
            lines(None, now),
            [
                f"client {now['process']['pid']}: ready",
                (
                    "connector 0a0b0c0d (localhost:9): joined, weight 1, you get 1 of 2 requests (50 %), requests 4, "
                    "target localhost:9 refused, others: pod (weight 1)"
                ),
            ],
        )

    def test_changes(self) -> None:
        """Only what is other than before."""
        before = document(CLIENT)
        self.assertEqual(lines(before, deepcopy(before)), [])
        now = deepcopy(before)
        now["connectors"][0]["requests"] = 5
        (line,) = lines(before, now)
        self.assertIn("requests 5", line)

    def test_a_server(self) -> None:
        before = document(FULL)
        now = deepcopy(before)
        now["connectors"] = []
        now["tunnels"][0]["connectors"] = 0
        self.assertEqual(lines(before, now), ["tunnel 10bc451e: connectors 0", "connector 0a0b0c0d (192.0.2.1:5): gone"])

    def test_a_visitor(self) -> None:
        port = PortStatus(address="*:2222", to="ssh.svc", tunnel="2f1c1d2e", server="server:8421", connections=1)
        self.assertIn("port *:2222 -> ssh.svc: connections 1", lines(None, document(ServiceStatus(role="visitor", ports=(port,)))))

    def test_an_older_process(self) -> None:
        now = document(CLIENT)
        for key in ("share", "others", "targets"):
            del now["connectors"][0][key]
        del now["ports"]
        self.assertIn("connector 0a0b0c0d (localhost:9): joined, weight 1, requests 4", lines(None, now))

    def test_hostile_names(self) -> None:
        now = document(CLIENT)
        now["connectors"][0]["others"][0]["name"] = "\x1b[2J\n"
        self.assertIn("\\x1b[2J\\n", lines(None, now)[1])
