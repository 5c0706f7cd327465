"""Users files."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from rtunnel.auth.passwords import PasswordHash
from rtunnel.auth.users import Users, check_name
from rtunnel.routing.lines import LineError
from tests.auth.test_passwords import HASH, text


class UsersTests(SynchronousTestCase):
    def test_users(self) -> None:
        users = Users.parse(f"# ours\n\nalice:{text()}\r\n  bob@example.org:{text(9)}  \n")
        self.assertEqual(len(users), 2)
        self.assertEqual(users.get("alice"), PasswordHash(text()))
        self.assertEqual(users.get("bob@example.org"), PasswordHash(text(9)))
        self.assertIsNone(users.get("carol"))

    def test_with_user(self) -> None:
        users = Users.parse(f"alice:{text()}")
        self.assertEqual(len(users.with_user("bob", PasswordHash(text()))), 2)
        self.assertEqual(users.with_user("alice", PasswordHash(text(9))).get("alice"), PasswordHash(text(9)))

    def test_decoys_are_real(self) -> None:
        """An unknown user's password is checked at the cost of a known one's."""
        users = Users.parse(f"alice:{text()}\nbob:{text(9)}")
        self.assertEqual({users.decoy(number) for number in range(4)}, {users.get("alice"), users.get("bob")})

    def refused(self, content: str, line: int, words: str) -> None:
        error = self.assertRaises(LineError, Users.parse, content)
        self.assertEqual(error.line, line)
        self.assertIn(words, error.hint)
        self.assertNotIn(HASH, error.hint)

    def test_bad_lines(self) -> None:
        self.refused(f"alice:{text()}\nbob", 2, "is not NAME:HASH")
        self.refused(f"alice:{text()}\nalice:{text()}", 2, 'names the user "alice" again')
        self.refused("alice:swordfish", 1, "holds no Argon2id hash")
        self.refused(f":{text()}", 1, "1 to 255 bytes")
        self.refused("# nobody\n", 1, "the file contains no user")

    def test_names(self) -> None:
        for name in ("alice", "a.b-c_d+e@f", "ü", "x" * 255):
            check_name(name)
        for name in ("", "a b", "a:b", "a,b", "a*", "a?", "#a", "a\n", "a\x00", 'a"', "x" * 256):
            self.assertRaises(ValueError, check_name, name)
