"""Permissions: what a rule allows, and what is no rule."""

from __future__ import annotations

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.routing.lines import LineError
from rtunnel.routing.permissions import Action, Permissions

TUNNEL = UUID("10bc451e-59dc-4c70-999e-91a30813ac78")
OTHER = UUID("2f1c1d2e-0000-4a5b-8c9d-0123456789ab")
BIND, VISIT = Action.BIND, Action.VISIT


class DecisionTests(SynchronousTestCase):
    """Who may do what."""

    def test_tunnel(self) -> None:
        """By its ID, whatever its hosts."""
        permissions = Permissions.parse(f"bind alice {TUNNEL}")
        self.assertTrue(permissions.may("alice", BIND, TUNNEL))
        self.assertTrue(permissions.may("alice", BIND, TUNNEL, ("a.local", "b.local")))
        self.assertFalse(permissions.may("alice", BIND, OTHER))
        self.assertFalse(permissions.may("alice", VISIT, TUNNEL))
        self.assertFalse(permissions.may("bob", BIND, TUNNEL))
        self.assertFalse(permissions.may("Alice", BIND, TUNNEL))

    def test_id_in_capitals(self) -> None:
        self.assertTrue(Permissions.parse(f"bind alice {str(TUNNEL).upper()}").may("alice", BIND, TUNNEL))

    def test_lists_and_globs(self) -> None:
        permissions = Permissions.parse("bind,visit alice,team-* a.local,*.dev.local")
        for user in ("alice", "team-", "team-red"):
            for action in (BIND, VISIT, Action.INTERCEPT, Action.GLOBAL):
                for host in ("a.local", "x.dev.local", "x.y.dev.local", "dev.local"):
                    self.assertTrue(permissions.may(user, action, TUNNEL, (host,)), (user, host))
        self.assertFalse(permissions.may("my-team-red", BIND, TUNNEL, ("a.local",)))
        self.assertFalse(permissions.may("alice", BIND, TUNNEL, ("xdev.local",)))
        self.assertFalse(permissions.may("alice", BIND, TUNNEL, ("a.local.evil",)))

    def test_every_host_counts(self) -> None:
        """Whoever binds a tunnel serves all of its hosts."""
        permissions = Permissions.parse("bind alice a.local\nbind alice c.*")
        self.assertFalse(permissions.may("alice", BIND, TUNNEL, ("a.local", "b.local")))
        self.assertTrue(permissions.may("alice", BIND, TUNNEL, ("a.local", "c.local")))
        self.assertFalse(permissions.may("alice", BIND, TUNNEL, ()))

    def test_ingress_wildcards(self) -> None:
        """A rule for one host below a wildcard does not give away the wildcard."""
        self.assertFalse(Permissions.parse("bind alice a.dev.local").may("alice", BIND, TUNNEL, ("*.dev.local",)))
        self.assertTrue(Permissions.parse("bind alice *.local").may("alice", BIND, TUNNEL, ("*.dev.local",)))
        self.assertTrue(Permissions.parse("bind alice *").may("alice", BIND, TUNNEL, ("*",)))

    def test_hosts_and_tunnels(self) -> None:
        """A pattern is one of hosts: no tunnel belongs to somebody because its ID begins with the same letter."""
        for name in ("1*", "10bc451e*", "*78", "10bc451e-59dc-4c70-999e-91a30813ac7?".replace("?", "*")):
            permissions = Permissions.parse(f"bind alice {name}")
            self.assertFalse(permissions.may("alice", BIND, TUNNEL, ("b.local",)), name)
        for name in (str(TUNNEL), str(TUNNEL).upper(), "*"):
            self.assertTrue(Permissions.parse(f"bind alice {name}").may("alice", BIND, TUNNEL), name)

    def test_one_users_rules_are_not_anothers(self) -> None:
        permissions = Permissions.parse("bind alice a.local\nbind bob b.local")
        self.assertFalse(permissions.may("alice", BIND, TUNNEL, ("a.local", "b.local")))

    def test_nothing_is_allowed_by_nothing(self) -> None:
        self.assertFalse(Permissions.parse("\n# nothing\n").may("alice", BIND, TUNNEL, ("a.local",)))

    @given(st.from_regex(r"\*?[a-c.*]{0,6}", fullmatch=True), st.from_regex(r"[a-c.]{1,6}", fullmatch=True))
    def test_a_pattern_that_matches_a_wildcard_matches_what_is_below(self, pattern: str, host: str) -> None:
        """Why there is no "?": a text match of the ingress pattern must mean a match of all of its hosts."""
        try:
            permissions = Permissions.parse(f"bind alice {pattern}")
        except LineError:
            return
        if permissions.may("alice", BIND, TUNNEL, ("*.b",)):
            self.assertTrue(permissions.may("alice", BIND, TUNNEL, (f"{host}.b",)))


class FormTests(SynchronousTestCase):
    """What is a rule."""

    def refused(self, text: str, line: int, words: str) -> None:
        error = self.assertRaises(LineError, Permissions.parse, text)
        self.assertEqual(error.line, line)
        self.assertIn(words, error.hint)

    def test_comments_and_space(self) -> None:
        self.assertEqual(len(Permissions.parse("# bind\n\n  bind\talice   *  \r\n").rules), 1)

    def test_bad_lines(self) -> None:
        self.refused("bind alice *\nbind alice", 2, "has 2 words and not three")
        self.refused("bind alice, bob *", 1, "has 4 words and not three")
        self.refused("bind alice,,bob *", 1, 'has a comma without a name beside it in "alice,,bob"')
        self.refused("serve alice *", 1, 'begins with "serve", which is none of bind, visit, intercept, global, list, admin')
        self.refused("BIND alice *", 1, "none of bind")
        self.refused("bind alice nginx.local:80", 1, 'has a port in "nginx.local:80"')
        for name in ("a?", "[ab]", "!bob", '"a"'):
            self.refused(f"bind {name} *", 1, "* is the only wildcard")
