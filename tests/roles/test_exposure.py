"""What is said at the start of what settings leave open."""

from __future__ import annotations

import re
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import attrs
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.ids import EXAMPLE, EXAMPLES
from rtunnel.roles.exposure import exposures
from rtunnel.routing.ingress import IngressRule
from rtunnel.routing.sticky import Sticky, StickyBy
from rtunnel.settings import (
    Address,
    ClientSettings,
    ConnectorSettings,
    Credentials,
    HttpSettings,
    ListenerSettings,
    PeerSettings,
    RegistryAddress,
    RegistrySettings,
    ServerSettings,
    ServerTls,
    VisitorSettings,
)

POD = {"KUBERNETES_SERVICE_HOST": "10.96.0.1"}
BY_ADDRESS = Sticky(StickyBy.ADDRESS)
ROOT = Path(__file__).parents[2]
OPEN = ListenerSettings(
    listen=Address("", 8421), entrypoints=(Address("", 80),), rules=(IngressRule(pattern="shop.local", tunnel=uuid4()),)
)


class OpenListenerTests(SynchronousTestCase):
    def said(self, *listeners: ListenerSettings) -> list[str]:
        return list(exposures(ServerSettings(listeners)))

    def test_open(self) -> None:
        (line,) = self.said(OPEN)
        self.assertTrue(line.startswith("everybody who reaches :8421 and knows a tunnel's ID can join"), line)
        for word in ("--users", "--ca-file", "loopback", "docs/security.md"):
            self.assertIn(word, line)

    def test_one_line_for_all(self) -> None:
        other = attrs.evolve(OPEN, listen=Address("192.0.2.1", 8422), entrypoints=(Address("", 81),))
        (line,) = self.said(OPEN, other)
        self.assertIn("reaches :8421 or 192.0.2.1:8422 and", line)

    def test_not_open(self) -> None:
        changes: list[dict[str, Any]] = [
            {"users": "users"},
            {"credentials": Credentials("ada", "swordfish")},
            {"transport": "wss", "tls": ServerTls(cert_file="c", ca_file="a")},
            *({"listen": Address(host, 8421)} for host in ("127.0.0.1", "127.1.2.3", "::1", "localhost")),
        ]
        for change in changes:
            self.assertEqual(self.said(attrs.evolve(OPEN, **change)), [], change)

    def test_standalone_entrypoint(self) -> None:
        """No client joins there."""
        standalone = attrs.evolve(OPEN, listen=None, entrypoints=(Address("", 81),))
        self.assertEqual(self.said(attrs.evolve(OPEN, users="users"), standalone), [])


class HiddenVisitorTests(SynchronousTestCase):
    """Visitors that are known by their address, where they seem to come through a proxy whose address that is."""

    def said(self, environ: dict[str, str], address: str = "", sticky: Sticky = BY_ADDRESS, **change: Any) -> list[str]:
        http = HttpSettings(sticky=sticky, trusted_proxies=change.pop("trusted_proxies", ()))
        listener = attrs.evolve(OPEN, users="users", entrypoints=(Address(address, 80),), http=http, **change)
        return list(exposures(ServerSettings((listener,)), environ))

    def test_evident(self) -> None:
        for environ, address, why in ((POD, "", "this is a pod"), ({}, "127.0.0.1", "it is on loopback")):
            (line,) = self.said(environ, address)
            self.assertIn(f"--sticky address at {address}:80, where visitors seem to come through a proxy ({why})", line)
            for word in ("--trusted-proxy", "--proxy-protocol", "--sticky cookie"):
                self.assertIn(word, line)

    def test_not_evident(self) -> None:
        network = (ip_network("10.0.0.0/8"),)
        self.assertEqual(self.said({}), [])
        self.assertEqual(self.said(POD, trusted_proxies=network), [])
        self.assertEqual(self.said(POD, proxy_protocol=network), [])
        self.assertEqual(self.said(POD, sticky=Sticky(StickyBy.COOKIE)), [])


class AloneTests(SynchronousTestCase):
    """A registry, and the port for other servers."""

    PEER = PeerSettings(listen=Address("10.0.0.1", 8424), secret_file="secret")
    REGISTRY = RegistrySettings(address=RegistryAddress(scheme="redis", hosts=(Address("redis", 6379),)))

    def said(self, **settings: Any) -> list[str]:
        listener = attrs.evolve(OPEN, listen=Address("127.0.0.1", 8421))
        return list(exposures(ServerSettings((listener,), **settings)))

    def test_both_or_none(self) -> None:
        self.assertEqual(self.said(), [])
        self.assertEqual(self.said(peer=self.PEER, registry=self.REGISTRY), [])

    def test_one(self) -> None:
        (line,) = self.said(registry=self.REGISTRY)
        self.assertIn("but cannot reach them", line)
        (line,) = self.said(peer=self.PEER)
        self.assertIn("add --registry", line)


class ExampleTests(SynchronousTestCase):
    def test_server(self) -> None:
        closed = attrs.evolve(OPEN, users="users", rules=(IngressRule(pattern="shop.local", tunnel=EXAMPLE),))
        (line,) = exposures(ServerSettings((closed,)))
        self.assertIn("an ID of the examples (10bc451e), which protects nothing", line)
        self.assertIn("uuidgen", line)
        self.assertNotIn(str(EXAMPLE), line)

    def test_entrypoint_id(self) -> None:
        (line,) = exposures(ServerSettings((attrs.evolve(OPEN, users="users", entrypoint_id=EXAMPLE),)))
        self.assertIn("10bc451e", line)

    def test_client(self) -> None:
        server = Address("proxy", 8421)
        for tunnel, count in ((EXAMPLE, 1), (uuid4(), 0)):
            joined = ConnectorSettings(server=server, tunnel=tunnel, target=Address("", 80))
            visited = VisitorSettings(server=server, tunnel=tunnel, listen=Address("", 2222), to=Address("ssh.svc", 0))
            for settings in (ClientSettings(connectors=(joined, joined)), ClientSettings(visitors=(visited,))):
                self.assertEqual(len(list(exposures(settings))), count)

    def test_all_are_known(self) -> None:
        """Every ID of the documentation, the examples, the manifests and the help."""
        pages = [path for name in ("docs", "examples", "deploy", "src") for path in (ROOT / name).rglob("*.*") if path.is_file()]
        found = {
            UUID(text)
            for path in (ROOT / "README.md", *pages)
            if path.suffix in (".md", ".yaml", ".env", ".py")
            for text in re.findall(r"\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b", path.read_text(encoding="utf-8"))
        }
        self.assertEqual(found ^ EXAMPLES, set())
