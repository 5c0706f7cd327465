"""Passwords and their hashes."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from rtunnel.auth.passwords import MAX_LANES, MAX_MEMORY, MAX_TIME, PasswordHash, hash_password

SALT = "KfzbplOQw7c7ZY+a3O19qw"
HASH = "Fr7f5LUcqQ8BSoTLYwYhusRAVKaZPm7h5dPCmEovNkc"


def text(memory: int = 8, time: int = 1, lanes: int = 1) -> str:
    return f"$argon2id$v=19$m={memory},t={time},p={lanes}${SALT}${HASH}"


class HashTests(SynchronousTestCase):
    def test_right_and_wrong(self) -> None:
        hashed = hash_password("sword fish ü")
        self.assertTrue(hashed.matches("sword fish ü"))
        self.assertFalse(hashed.matches("sword fish u"))
        self.assertNotEqual(hashed, hash_password("sword fish ü"))

    def test_form(self) -> None:
        """OWASP's parameters, in the text form that others read too."""
        self.assertTrue(hash_password("a").text.startswith("$argon2id$v=19$m=19456,t=2,p=1$"))

    def test_of_another_program(self) -> None:
        """Made by argon2(1): ``echo -n password | argon2 somesalt -id -t 2 -k 256 -p 1 -e``."""
        hashed = PasswordHash("$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4")
        self.assertTrue(hashed.matches("password"))

    def test_not_shown(self) -> None:
        self.assertNotIn(HASH, repr(PasswordHash(text())))

    def refused(self, value: str, words: str) -> None:
        error = self.assertRaises(ValueError, PasswordHash, value)
        self.assertIn(words, str(error))
        self.assertIn("rtunnel user NAME", str(error))
        self.assertNotIn(HASH, str(error))

    def test_other_kinds(self) -> None:
        self.refused("$2y$05$bZp9Y0m", "bcrypt")
        self.refused(text().replace("argon2id", "argon2i"), "another kind of Argon2")
        self.refused("swordfish", "no Argon2id hash")
        self.refused(text() + " ", "no Argon2id hash")
        self.refused(text().replace("v=19", "v=16"), "no Argon2id hash")

    def test_cost_is_bounded(self) -> None:
        PasswordHash(text(MAX_MEMORY, MAX_TIME, MAX_LANES))
        self.refused(text(memory=MAX_MEMORY + 1), "costs too much, m=262145 where 262144 is the maximum")
        self.refused(text(time=MAX_TIME + 1), "costs too much, t=17")
        self.refused(text(lanes=MAX_LANES + 1), "costs too much, p=17")
