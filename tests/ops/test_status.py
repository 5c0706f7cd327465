"""The document that a process gives of itself."""

from __future__ import annotations

import json
import os

from twisted.internet.defer import Deferred, succeed
from twisted.logger import LogLevel
from twisted.trial.unittest import SynchronousTestCase

from rtunnel import __version__
from rtunnel.ops.recent import RecentErrors
from rtunnel.ops.status import (
    ConnectorStatus,
    EntrypointStatus,
    ListenerStatus,
    PortStatus,
    ProcessStatus,
    RoundTrip,
    RuleStatus,
    ServiceStatus,
    TunnelStatus,
)


class Service:
    """A service that can be asked."""

    ready = True
    running = True

    def __init__(self, status: ServiceStatus) -> None:
        self._status = status

    def refresh(self) -> Deferred[None]:
        return succeed(None)

    def status(self) -> ServiceStatus:
        return self._status


FULL = ServiceStatus(
    role="server",
    listeners=(ListenerStatus(address="*:8421", transport="ws", links=1),),
    entrypoints=(EntrypointStatus(address="*:80", protocols=("http", "tls"), visitors=2),),
    rules=(RuleStatus(host="*.pod.local", tunnel="10bc451e", private=False),),
    tunnels=(TunnelStatus(tunnel="10bc451e", connectors=1, streams=3),),
    connectors=(
        ConnectorStatus(
            id="0a0b0c0d",
            tunnel="10bc451e",
            network="tcp",
            state="joined",
            peer="192.0.2.1:5",
            weight=1,
            since=1_000_000_000.5,
            streams=3,
            requests=4,
            received_bytes=5,
            sent_bytes=6,
            round_trip=RoundTrip(0.25, "ping"),
        ),
    ),
    ports=(PortStatus(address="*:2222", to="ssh.svc", tunnel="2f1c1d2e", server="server:8421", connections=1),),
)


class DocumentTests(SynchronousTestCase):
    maxDiff = None

    def setUp(self) -> None:
        self.now = 1_000_000_000.0
        self.recent = RecentErrors()
        self.service = Service(FULL)
        self.status = ProcessStatus(self.service, self.recent, lambda: self.now)

    def test_everything(self) -> None:
        self.recent({"log_level": LogLevel.warn, "log_time": self.now, "log_format": "oh"})
        self.now += 2.5
        self.assertEqual(
            json.loads(self.status.json()),
            {
                "status_version": 1,
                "process": {
                    "role": "server",
                    "version": __version__,
                    "pid": os.getpid(),
                    "started": "2001-09-09T01:46:40.000Z",
                    "uptime": 2.5,
                    "state": "ready",
                },
                "listeners": [{"address": "*:8421", "transport": "ws", "links": 1}],
                "entrypoints": [{"address": "*:80", "protocols": ["http", "tls"], "visitors": 2}],
                "rules": [{"host": "*.pod.local", "tunnel": "10bc451e", "private": False}],
                "tunnels": [{"tunnel": "10bc451e", "connectors": 1, "streams": 3}],
                "connectors": [
                    {
                        "id": "0a0b0c0d",
                        "tunnel": "10bc451e",
                        "network": "tcp",
                        "state": "joined",
                        "peer": "192.0.2.1:5",
                        "user": None,
                        "target": None,
                        "targets": [],
                        "hosts": [],
                        "share": None,
                        "others": [],
                        "weight": 1,
                        "name": None,
                        "reason": None,
                        "until": None,
                        "intercept": [],
                        "since": "2001-09-09T01:46:40.500Z",
                        "streams": 3,
                        "requests": 4,
                        "received_bytes": 5,
                        "sent_bytes": 6,
                        "round_trip": {"seconds": 0.25, "by": "ping"},
                    }
                ],
                "registry": [],
                "peers": [],
                "workers": [],
                "ports": [{"address": "*:2222", "to": "ssh.svc", "tunnel": "2f1c1d2e", "server": "server:8421", "connections": 1}],
                "errors": [{"time": "2001-09-09T01:46:40.000Z", "level": "warn", "text": "oh", "times": 1}],
            },
        )

    def test_states(self) -> None:
        for ready, running, state in ((True, True, "ready"), (False, True, "joining"), (False, False, "draining")):
            self.service.ready, self.service.running = ready, running
            self.assertEqual(self.status.document()["process"]["state"], state)

    def test_nothing_yet(self) -> None:
        document = json.loads(ProcessStatus(Service(ServiceStatus(role="client")), self.recent).json())
        for part in ("listeners", "entrypoints", "rules", "tunnels", "connectors", "ports", "errors"):
            self.assertEqual(document[part], [], part)


class RoundTripTests(SynchronousTestCase):
    def test_the_ping_goes_further(self) -> None:
        self.assertEqual(RoundTrip.of(ping=0.5, tcp=lambda: 0.1), RoundTrip(0.5, "ping"))
        self.assertEqual(RoundTrip.of(ping=None, tcp=lambda: 0.1), RoundTrip(0.1, "tcp"))
        self.assertIsNone(RoundTrip.of(ping=None, tcp=lambda: None))
