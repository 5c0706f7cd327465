"""Visitors that stay with one connector, and the cookie by which they are known."""

from __future__ import annotations

import re
from ipaddress import ip_network

from rtunnel.routing.sticky import Sticky
from rtunnel.settings import HttpSettings
from tests.server.harness import FarConnector, HttpCase, all_worlds
from tests.support.heads import GET, OK

COOKIE = re.compile(rb"\r\nSet-Cookie: (rtunnel-visitor=[\w-]{16}); Path=/; HttpOnly; SameSite=Lax(; Secure)?\r\n")


class StickyCase(HttpCase):
    """A server and its connectors."""

    def set_up(self, sticky: str | None, count: int = 2) -> None:
        """Connectors of a server with that option."""
        trusted = (ip_network("192.168.1.1/32"),)
        option = None if sticky is None else Sticky.parse(sticky)
        self.world = self.make_world(HttpSettings(sticky=option, trusted_proxies=trusted, pool=False))
        self.connectors = [self.world.attach() for _ in range(count)]

    def ask(self, *fields: str) -> tuple[FarConnector, bytes]:
        """Who got a request, and the response."""
        request = GET[:-2] + "".join(f"{field}\r\n" for field in fields).encode() + b"\r\n"
        self.world.learn(request, OK)
        before = [one.connector.streams for one in self.connectors]
        visitor = self.world.visit(request)
        (asked,) = (one for one, streams in zip(self.connectors, before, strict=True) if one.connector.streams > streams)
        asked.stream.answer(OK)
        return asked, visitor.received


class StickyTests(StickyCase):
    def test_cookie(self) -> None:
        self.set_up("cookie")
        chosen = set()
        for _ in range(12):
            first, response = self.ask()
            found = COOKIE.search(response)
            assert found is not None, response
            self.assertIsNone(found[2])
            for _ in range(3):
                again, response = self.ask(f"Cookie: {found[1].decode()}")
                self.assertIs(again, first)
                self.assertNotIn(b"Set-Cookie", response)
            chosen.add(first)
        self.assertEqual(len(chosen), 2)

    def test_secure(self) -> None:
        self.set_up("cookie")
        found = COOKIE.search(self.ask("X-Forwarded-Proto: https")[1])
        self.assertEqual(found and found[2], b"; Secure")

    def test_one_side(self) -> None:
        """Nothing to stay with: no cookie."""
        self.set_up("cookie", 1)
        self.assertNotIn(b"Set-Cookie", self.ask()[1])

    def test_header_and_address(self) -> None:
        for option, field in (("header:X-User", "X-User: user%d"), ("address", "X-Forwarded-For: 192.0.2.%d")):
            self.set_up(option)
            sides = set()
            for number in range(12):
                first, response = self.ask(field % number)
                self.assertNotIn(b"Set-Cookie", response)
                self.assertIs(self.ask(field % number)[0], first)
                sides.add(first)
            self.assertEqual(len(sides), 2)

    def test_off(self) -> None:
        self.set_up(None)
        asked = [self.ask("Cookie: rtunnel-visitor=x") for _ in range(24)]
        self.assertEqual(len({connector for connector, _ in asked}), 2)
        self.assertNotIn(b"Set-Cookie", asked[0][1])


class ReloadTests(StickyCase):
    def test_reload(self) -> None:
        """The option applies from the next request on."""
        self.set_up(None)
        self.world.change(HttpSettings(sticky=Sticky.parse("cookie")))
        self.assertIn(b"Set-Cookie", self.ask()[1])


globals().update(all_worlds(StickyTests))
