"""Sessions: the link that leaves a cookie, and what the services behind learn of it."""

from __future__ import annotations

from ipaddress import ip_network

from twisted.trial.unittest import SynchronousTestCase

from rtunnel.outcomes import Outcome
from rtunnel.server.entrypoint.sessions import MAX_BAGGAGE, MAX_MEMBERS, redirect_of, with_session
from rtunnel.settings import HttpSettings
from rtunnel.wire.http1 import TRUSTED, UNTRUSTED, parse_request
from tests.server.harness import HttpCase, World, all_worlds
from tests.support.heads import OK

SESSION = ("cookie:rtunnel-session=alice", "baggage:rtunnel-session=alice")


def request(target: str = "/", *fields: str, method: str = "GET") -> bytes:
    return "".join(f"{line}\r\n" for line in (f"{method} {target} HTTP/1.1", "Host: pod.local", *fields, "")).encode()


class RedirectTests(SynchronousTestCase):
    """What a link answers."""

    def redirect(
        self, target: str, *fields: str, method: str = "GET", names: frozenset[bytes] = frozenset({b"alice"})
    ) -> str | None:
        head = parse_request(request(target, *fields, method=method), TRUSTED if fields else UNTRUSTED)
        found = redirect_of(head, names)
        return None if found is None else found.decode()

    def test_location(self) -> None:
        for target, location in (
            ("/?rtunnel-session=alice", "/"),
            ("/a/b?x=1&rtunnel-session=alice&y=%26", "/a/b?x=1&y=%26"),
            ("/a?rtunnel-session=bob&rtunnel-session=alice", "/a"),
            # these would be other hosts
            ("//evil.example.org/?rtunnel-session=alice", "/.//evil.example.org/"),
            ("/\\evil.example.org/?rtunnel-session=alice", "/./\\evil.example.org/"),
        ):
            found = self.redirect(target)
            assert found is not None
            self.assertEqual(found.splitlines()[0], f"Location: {location}")
            self.assertEqual(found.splitlines()[1], "Set-Cookie: rtunnel-session=alice; Path=/; HttpOnly; SameSite=Lax")

    def test_end(self) -> None:
        """An empty name removes the cookie."""
        found = self.redirect("/?rtunnel-session=")
        self.assertIn("Set-Cookie: rtunnel-session=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0\r\n", found or "")

    def test_secure(self) -> None:
        found = self.redirect("/?rtunnel-session=alice", "X-Forwarded-Proto: https")
        self.assertIn("SameSite=Lax; Secure\r\n", found or "")
        found = self.redirect("/?rtunnel-session=alice", "X-Forwarded-Proto: http")
        self.assertNotIn("Secure", found or "Secure")

    def test_no_link(self) -> None:
        for target, method in (
            ("/", "GET"),
            ("/?a=rtunnel-session=alice", "GET"),
            ("/?Xrtunnel-session=alice", "GET"),
            ("/rtunnel-session=alice", "GET"),
            ("/?rtunnel-session=alice", "POST"),
            # nobody has it
            ("/?rtunnel-session=eve", "GET"),
            ("/?rtunnel-session=alic%65", "GET"),
        ):
            self.assertIsNone(self.redirect(target, method=method), target)


class BaggageTests(SynchronousTestCase):
    """The member that is added."""

    def baggage(self, *fields: str) -> list[str] | None:
        changed = with_session(request("/", *fields), b"alice")
        if changed is None:
            return None
        self.assertTrue(changed.endswith(b"\r\n\r\n"))
        self.assertEqual(changed.count(b"\r\n\r\n"), 1)
        return [line.decode() for line in changed.split(b"\r\n") if line.lower().startswith(b"baggage:")]

    def test_merged_into_the_first_field(self) -> None:
        self.assertEqual(self.baggage(), ["Baggage: rtunnel-session=alice"])
        self.assertEqual(self.baggage("baggage: a=1;p, b=2 "), ["baggage: a=1;p, b=2,rtunnel-session=alice"])
        self.assertEqual(self.baggage("baggage:"), ["baggage: rtunnel-session=alice"])
        self.assertEqual(self.baggage("Baggage: a=1", "baggage: b=2"), ["Baggage: a=1,rtunnel-session=alice", "baggage: b=2"])

    def test_one_that_is_there(self) -> None:
        self.assertEqual(self.baggage("Baggage: rtunnel-session=bob"), ["Baggage: rtunnel-session=bob"])

    def test_full(self) -> None:
        self.assertIsNone(self.baggage("Baggage: " + ",".join(["a=1"] * MAX_MEMBERS)))
        self.assertIsNone(self.baggage("Baggage: a=" + "1" * (MAX_BAGGAGE - 10)))
        self.assertEqual(len(self.baggage("Baggage: " + ",".join(["a=1"] * (MAX_MEMBERS - 1))) or ()), 1)


class EntrypointTests(HttpCase):
    """At the entrypoint, beside a pod."""

    def setUp(self) -> None:
        super().setUp()
        self.world.learn(request(), request("/", "Cookie: a"), request("/", "Baggage: a"), request("/", "Baggage: a", "Cookie: a"))

    def test_from_the_link_to_the_laptop(self) -> None:
        pod = self.world.attach()
        laptop = self.world.attach(filters=SESSION)
        visitor = self.world.visit(request("/a?rtunnel-session=alice"))
        self.assertEqual(visitor.status, 302)
        self.assertIn(b"\r\nCache-Control: no-store\r\n", visitor.received)
        self.assertIn(b"\r\nSet-Cookie: rtunnel-session=alice; ", visitor.take())
        self.assertEqual((pod.streams, laptop.streams), ([], []))
        visitor.send(request("/a", "Cookie: a=b; rtunnel-session=alice"))
        self.assertIn(b"\r\nBaggage: rtunnel-session=alice\r\n", laptop.stream.take())
        laptop.stream.answer(OK)
        self.assertEqual(visitor.status, 200)
        self.assertEqual(self.world.outcomes(), {Outcome.SESSION: 1, Outcome.ANSWERED: 1})
        # the baggage alone does, too, and is passed on as it came
        visitor.take()
        visitor.send(request("/a", "Baggage: rtunnel-session=alice;p"))
        self.assertIn(b"\r\nBaggage: rtunnel-session=alice;p\r\n", laptop.stream.take())

    def test_without_a_session_nothing_changes(self) -> None:
        """Neither for links and cookies of sessions that nobody has, nor where nobody has one."""
        pod = self.world.attach()
        fields = ("Cookie: rtunnel-session=eve",)
        for filters in ((), SESSION):
            if filters:
                self.world.attach(filters=filters)
            visitor = self.world.visit(request("/?rtunnel-session=eve", *fields))
            sent = pod.stream.take()
            self.assertIn(b"GET /?rtunnel-session=eve HTTP/1.1\r\n", sent)
            self.assertNotIn(b"aggage", sent)
            pod.stream.answer(OK)
            self.assertEqual(visitor.status, 200)

    def test_the_session_ends(self) -> None:
        """Its cookie counts for nothing any more."""
        pod = self.world.attach()
        self.world.attach(filters=SESSION).lose()
        self.world.visit(request("/", "Cookie: rtunnel-session=alice"))
        self.assertNotIn(b"aggage", pod.stream.take())

    def test_full_baggage(self) -> None:
        """The request goes on without it."""
        laptop = self.world.attach(filters=SESSION)
        full = "Baggage: " + ",".join(["a=1"] * MAX_MEMBERS)
        self.world.visit(request("/", full, "Cookie: rtunnel-session=alice"))
        self.assertIn(full.encode(), laptop.stream.take())

    def test_behind_tls(self) -> None:
        world = World(self, HttpSettings(trusted_proxies=(ip_network("192.168.1.0/24"),)))
        world.attach(filters=SESSION)
        visitor = world.visit(request("/?rtunnel-session=alice", "X-Forwarded-Proto: https"))
        self.assertIn(b"; Secure\r\n", visitor.received)


globals().update(all_worlds(EntrypointTests))
