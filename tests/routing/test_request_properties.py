"""What intercept filters can ask of a request."""

from __future__ import annotations

from collections.abc import Mapping

from twisted.trial.unittest import SynchronousTestCase

from rtunnel.routing.intercept_terms import Kind
from rtunnel.routing.request_properties import RequestProperties

__all__ = ["Request"]


class Request:
    """A request out of lines; counts how often they were asked for."""

    def __init__(self, *fields: str, target: str = "/", method: str = "GET", host: str = "shop.example.org") -> None:
        lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", *fields]
        self._lines = "".join(f"{line}\r\n" for line in lines).encode()
        self.host = host
        self._target = target.encode()
        self._method = method.encode()
        self.asked = 0

    def method(self) -> bytes:
        return self._method

    def path(self) -> bytes:
        return self._target

    def lines(self) -> bytes:
        self.asked += 1
        return self._lines

    def taken(self) -> Mapping[bytes, bytes]:
        return {b"via": b"1.1 proxy"}


class PropertiesTests(SynchronousTestCase):
    """Each kind, with the spellings that clients use."""

    def values(self, request: Request, kind: Kind, name: str = "") -> list[bytes]:
        return list(RequestProperties(request).values(kind, name.encode()))

    def test_headers(self) -> None:
        request = Request("x-user:alice", "X-Other: \t a: b, c \t", "X-USER: Bob", "X-Empty:", "X-Use: no")
        for name, values in (
            ("x-user", [b"alice", b"Bob"]),
            ("x-other", [b"a: b, c"]),
            ("x-empty", [b""]),
            ("x-missing", []),
            ("user", []),
            ("via", [b"1.1 proxy"]),
            ("host", [b"shop.example.org"]),
        ):
            self.assertEqual(self.values(request, Kind.HEADER, name), values, name)

    def test_the_request_line_is_no_header(self) -> None:
        self.assertEqual(self.values(Request(target="/x-user:alice"), Kind.HEADER, "x-user"), [])

    def test_cookies(self) -> None:
        request = Request("Cookie: a=1; bb=2=3;c=;\td=4; odd; a=5", 'cookie: e="x"; a=6')
        for name, values in (("a", [b"1"]), ("bb", [b"2=3"]), ("c", [b""]), ("d", [b"4"]), ("e", [b'"x"']), ("A", []), ("odd", [])):
            self.assertEqual(self.values(request, Kind.COOKIE, name), values, name)

    def test_parameters(self) -> None:
        request = Request(target="/a?v=1&v=2&na%6De=a+b%2Bc&empty&x=a=b")
        for name, values in (
            ("v", [b"1", b"2"]),
            ("name", [b"a b+c"]),
            ("empty", [b""]),
            ("x", [b"a=b"]),
            ("y", []),
        ):
            self.assertEqual(self.values(request, Kind.QUERY, name), values, name)
        self.assertEqual(self.values(Request(), Kind.QUERY, "v"), [])

    def test_baggage(self) -> None:
        """Members are decoded; properties and white space do not count; several lines are one list."""
        request = Request("Baggage: user=alice;ttl=5 , rtunnel-session = bo%62 ;p", "baggage: team=a%20b,broken")
        for name, values in (("user", [b"alice"]), ("rtunnel-session", [b"bob"]), ("team", [b"a b"]), ("broken", []), ("ttl", [])):
            self.assertEqual(self.values(request, Kind.BAGGAGE, name), values, name)

    def test_the_rest(self) -> None:
        request = Request(target="/a%20b/../c?x=/y", method="POST")
        self.assertEqual(self.values(request, Kind.PATH), [b"/a b/../c"])
        self.assertEqual(self.values(request, Kind.METHOD), [b"POST"])
        self.assertEqual(self.values(request, Kind.HOST), [b"shop.example.org"])

    def test_probes(self) -> None:
        for agent, probe in (
            ("kube-probe/1.31", True),
            ("ELB-HealthChecker/2.0", True),
            ("GoogleHC/1.0", True),
            ("Mozilla/5.0 kube-probe/1.31", False),
        ):
            self.assertEqual(RequestProperties(Request(f"User-Agent: {agent}")).is_probe, probe, agent)
        self.assertFalse(RequestProperties(Request()).is_probe)
