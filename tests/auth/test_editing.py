"""Changes of users and permissions: texts, and files that others read meanwhile."""

from __future__ import annotations

import os
from pathlib import Path
from threading import Thread

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.auth.editing import change_file, has_user, with_rule, with_user, without_rule, without_user
from rtunnel.auth.passwords import PasswordHash
from rtunnel.auth.users import Users
from rtunnel.routing.lines import LineError
from rtunnel.routing.permissions import Permissions
from rtunnel.settings import SettingsError

HASH = PasswordHash("$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$UTvfWNvvgHYE1hdhWn9uTzqZmyQ2mWZpwPHsQ1ZwZ/4")
OTHER = PasswordHash("$argon2id$v=19$m=8,t=1,p=1$b3RoZXJzYWx0$UTvfWNvvgHYE1hdhWn9uTzqZmyQ2mWZpwPHsQ1ZwZ/4")

names = st.text("abcXYZ019._@+-", min_size=1, max_size=8)
comments = st.sampled_from(("", "# a comment", "   ", "#bob:x"))


def users_file(entries: dict[str, PasswordHash], between: list[str]) -> str:
    """A users file with comments between the entries."""
    lines = [f"{name}:{hashed.text}" for name, hashed in entries.items()]
    for number, line in enumerate(between):
        lines.insert(number * 2 % (len(lines) + 1), line)
    return "\n".join(lines) + "\n"


class UserTests(SynchronousTestCase):
    @given(st.dictionaries(names, st.just(HASH), min_size=1, max_size=5), st.lists(comments, max_size=4), names)
    def test_one_is_changed_and_nothing_else(self, entries: dict[str, PasswordHash], between: list[str], name: str) -> None:
        text = users_file(entries, between)
        added = with_user(text, name, OTHER)
        self.assertEqual(Users.parse(added), Users({**entries, name: OTHER}))
        others = [line for line in text.split("\n") if not line.startswith(f"{name}:")]
        self.assertEqual([line for line in added.split("\n") if not line.startswith(f"{name}:")], others)
        if set(entries) - {name}:
            removed = without_user(added, name)
            self.assertFalse(has_user(removed, name))
            self.assertEqual(removed.split("\n"), others)

    def test_no_line_break_at_the_end(self) -> None:
        self.assertEqual(with_user(f"ada:{HASH.text}", "bob", OTHER), f"ada:{HASH.text}\nbob:{OTHER.text}\n")
        self.assertEqual(with_user("", "bob", OTHER), f"bob:{OTHER.text}\n")

    def test_the_only_one(self) -> None:
        """Servers do not take an empty file."""
        self.assertRaises(LineError, without_user, f"bob:{HASH.text}\n", "bob")

    def test_a_file_that_was_not_valid(self) -> None:
        self.assertRaises(LineError, with_user, "nonsense\n", "bob", HASH)


class RuleTests(SynchronousTestCase):
    def test_added_and_replaced(self) -> None:
        text = "# rules\nbind  ada  *\n"
        text = with_rule(text, "intercept", "bob", "a.org,b.org")
        self.assertEqual(text, "# rules\nbind  ada  *\nintercept  bob  a.org,b.org\n")
        text = with_rule(text, "intercept,env", "bob", "a.org,b.org")
        self.assertEqual(text, "# rules\nbind  ada  *\nintercept,env  bob  a.org,b.org\n")
        self.assertEqual(len(Permissions.parse(text).rules), 2)

    def test_removed(self) -> None:
        text = "bind ada,bob a.org\nvisit   bob\ta.org\nvisit bob b.org\n"
        self.assertEqual(without_rule(text, "bob", "a.org"), "bind ada,bob a.org\nvisit bob b.org\n")
        self.assertEqual(without_rule(text, "carol", "a.org"), text)

    def test_not_valid(self) -> None:
        self.assertRaises(LineError, with_rule, "", "everything", "bob", "a.org")


class FileTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir(parents=True)
        self.path = self.folder / "users"

    def test_mode_and_links_stay(self) -> None:
        self.path.write_text("a", encoding="utf-8")
        self.path.chmod(0o640)
        link = self.folder / "link"
        link.symlink_to("users")
        change_file(str(link), lambda text: text + "b")
        self.assertTrue(link.is_symlink())
        self.assertEqual((self.path.read_text(encoding="utf-8"), self.path.stat().st_mode & 0o777), ("ab", 0o640))
        self.assertEqual(sorted(os.listdir(self.folder)), ["link", "users"])

    def test_new(self) -> None:
        change_file(str(self.path), lambda text: f"<{text}>")
        self.assertEqual((self.path.read_text(encoding="utf-8"), self.path.stat().st_mode & 0o777), ("<>", 0o600))

    def test_nothing_is_written_where_nothing_changes(self) -> None:
        self.path.write_text("a", encoding="utf-8")
        before = self.path.stat().st_ino
        change_file(str(self.path), lambda text: text)
        self.assertEqual(self.path.stat().st_ino, before)

    def test_two_wait_for_each_other(self) -> None:
        threads = [Thread(target=change_file, args=(str(self.path), lambda text: text + "x")) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(self.path.read_text(encoding="utf-8"), "x" * 20)

    def test_what_fails_changes_nothing(self) -> None:
        self.path.write_text("nonsense\n", encoding="utf-8")
        error = self.assertRaises(SettingsError, change_file, str(self.path), lambda text: with_user(text, "bob", HASH))
        self.assertIn("users:1: is not NAME:HASH", str(error))
        self.assertEqual(os.listdir(self.folder), ["users"])
        error = self.assertRaises(SettingsError, change_file, str(self.folder / "none" / "users"), str)
        self.assertIn("cannot be changed", str(error))
        self.path.write_bytes(b"\xff")
        self.assertIn("UTF-8", str(self.assertRaises(SettingsError, change_file, str(self.path), str)))
