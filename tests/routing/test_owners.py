"""Owners: what a rule allows, and what is no rule."""

from __future__ import annotations

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.routing.lines import LineError
from rtunnel.routing.owners import Action, Owners

TUNNEL = UUID("10bc451e-59dc-4c70-999e-91a30813ac78")
OTHER = UUID("2f1c1d2e-0000-4a5b-8c9d-0123456789ab")
BIND, VISIT = Action.BIND, Action.VISIT


class DecisionTests(SynchronousTestCase):
    """Who may do what."""

    def test_tunnel(self) -> None:
        """By its ID, whatever its hosts."""
        owners = Owners.parse(f"bind alice {TUNNEL}")
        self.assertTrue(owners.may("alice", BIND, TUNNEL))
        self.assertTrue(owners.may("alice", BIND, TUNNEL, ("a.local", "b.local")))
        self.assertFalse(owners.may("alice", BIND, OTHER))
        self.assertFalse(owners.may("alice", VISIT, TUNNEL))
        self.assertFalse(owners.may("bob", BIND, TUNNEL))
        self.assertFalse(owners.may("Alice", BIND, TUNNEL))

    def test_id_in_capitals(self) -> None:
        self.assertTrue(Owners.parse(f"bind alice {str(TUNNEL).upper()}").may("alice", BIND, TUNNEL))

    def test_lists_and_globs(self) -> None:
        owners = Owners.parse("bind,visit alice,team-* a.local,*.dev.local")
        for user in ("alice", "team-", "team-red"):
            for action in Action:
                for host in ("a.local", "x.dev.local", "x.y.dev.local", "dev.local"):
                    self.assertTrue(owners.may(user, action, TUNNEL, (host,)), (user, host))
        self.assertFalse(owners.may("my-team-red", BIND, TUNNEL, ("a.local",)))
        self.assertFalse(owners.may("alice", BIND, TUNNEL, ("xdev.local",)))
        self.assertFalse(owners.may("alice", BIND, TUNNEL, ("a.local.evil",)))

    def test_every_host_counts(self) -> None:
        """Whoever binds a tunnel serves all of its hosts."""
        owners = Owners.parse("bind alice a.local\nbind alice c.*")
        self.assertFalse(owners.may("alice", BIND, TUNNEL, ("a.local", "b.local")))
        self.assertTrue(owners.may("alice", BIND, TUNNEL, ("a.local", "c.local")))
        self.assertFalse(owners.may("alice", BIND, TUNNEL, ()))

    def test_ingress_wildcards(self) -> None:
        """A rule for one host below a wildcard does not give away the wildcard."""
        self.assertFalse(Owners.parse("bind alice a.dev.local").may("alice", BIND, TUNNEL, ("*.dev.local",)))
        self.assertTrue(Owners.parse("bind alice *.local").may("alice", BIND, TUNNEL, ("*.dev.local",)))
        self.assertTrue(Owners.parse("bind alice *").may("alice", BIND, TUNNEL, ("*",)))

    def test_one_users_rules_are_not_anothers(self) -> None:
        owners = Owners.parse("bind alice a.local\nbind bob b.local")
        self.assertFalse(owners.may("alice", BIND, TUNNEL, ("a.local", "b.local")))

    def test_nothing_is_allowed_by_nothing(self) -> None:
        self.assertFalse(Owners.parse("\n# nothing\n").may("alice", BIND, TUNNEL, ("a.local",)))

    @given(st.from_regex(r"\*?[a-c.*]{0,6}", fullmatch=True), st.from_regex(r"[a-c.]{1,6}", fullmatch=True))
    def test_a_pattern_that_matches_a_wildcard_matches_what_is_below(self, pattern: str, host: str) -> None:
        """Why there is no "?": a text match of the ingress pattern must mean a match of all of its hosts."""
        try:
            owners = Owners.parse(f"bind alice {pattern}")
        except LineError:
            return
        if owners.may("alice", BIND, TUNNEL, ("*.b",)):
            self.assertTrue(owners.may("alice", BIND, TUNNEL, (f"{host}.b",)))


class FormTests(SynchronousTestCase):
    """What is a rule."""

    def refused(self, text: str, line: int, words: str) -> None:
        error = self.assertRaises(LineError, Owners.parse, text)
        self.assertEqual(error.line, line)
        self.assertIn(words, error.mend)

    def test_comments_and_space(self) -> None:
        self.assertEqual(len(Owners.parse("# bind\n\n  bind\talice   *  \r\n").rules), 1)

    def test_bad_lines(self) -> None:
        self.refused("bind alice *\nbind alice", 2, "has 2 words and not three")
        self.refused("bind alice, bob *", 1, "has 4 words and not three")
        self.refused("bind alice,,bob *", 1, 'has a comma without a name beside it in "alice,,bob"')
        self.refused("serve alice *", 1, 'begins with "serve", which is neither bind nor visit')
        self.refused("BIND alice *", 1, "neither bind nor visit")
        self.refused("bind alice nginx.local:80", 1, 'names a port in "nginx.local:80"')
        for name in ("a?", "[ab]", "!bob", '"a"'):
            self.refused(f"bind {name} *", 1, "* is the only wildcard")
