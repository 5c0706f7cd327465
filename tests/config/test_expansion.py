"""Variables of the environment in values of a file that a team shares."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from rtunnel.config.expansion import user_of
from rtunnel.config.layout import DEV_LAYOUT, SERVER_LAYOUT
from rtunnel.config.reading import FileReading, read_file
from rtunnel.settings import SettingsError

ENVIRON = {"USER": "alice", "TEAM": "checkout", "EMPTY": ""}


class ExpansionTests(SynchronousTestCase):
    def read(self, text: str) -> FileReading:
        path = Path(self.mktemp())
        path.write_text(text, encoding="utf-8")
        return read_file(str(path), DEV_LAYOUT, ENVIRON)

    def refused(self, text: str) -> list[str]:
        error = self.assertRaises(SettingsError, self.read, text)
        return [line.partition(":")[2] for line in str(error).splitlines()]

    def test_where_it_is_documented(self) -> None:
        base = self.read("session: ${USER}-${TEAM}\nname: ${USER}\nreason: for ${TEAM}\nintercept: header:X-User=${USER}\n").base
        self.assertEqual(
            [base[field].value for field in ("session", "name", "reason")], ["alice-checkout", "alice", "for checkout"]
        )
        self.assertEqual([str(one) for one in base["intercept"].value], ["header:x-user=alice"])

    def test_in_lists(self) -> None:
        base = self.read("intercepts: ['header:X-User=${USER}', 'cookie:team=${TEAM}']\n").base
        self.assertEqual([str(one) for one in base["intercept"].value], ["header:x-user=alice", "cookie:team=checkout"])

    def test_nowhere_else(self) -> None:
        """A command or a value of the environment may have such texts for others."""
        base = self.read("run: [echo, '${USER}']\nenv: {set: {A: '${USER}'}}\n").base
        self.assertEqual(base["run"].value, ("echo", "${USER}"))
        self.assertEqual(base["env.sets"].value, (("A", "${USER}"),))

    def test_not_in_other_files(self) -> None:
        path = Path(self.mktemp())
        path.write_text("host-header: ${USER}\n", encoding="utf-8")
        self.assertRaises(SettingsError, read_file, str(path), SERVER_LAYOUT, ENVIRON)

    def test_literal(self) -> None:
        base = self.read("reason: $${USER} and $5 and $USER and $\n").base
        self.assertEqual(base["reason"].value, "${USER} and $5 and $USER and $")

    def test_not_set(self) -> None:
        """All of them are said at once, each with its line."""
        self.assertEqual(
            self.refused("session: ${NOBODY}\nname: x\nreason: ${EMPTY}\n"),
            ["1: session: ${NOBODY} is not set; set that variable", "3: reason: ${EMPTY} is not set; set that variable"],
        )

    def test_malformed(self) -> None:
        (line,) = self.refused("session: ${USER\n")
        self.assertEqual(line, "1: session: has a ${ without a name and a }; write e.g. ${USER}, or $${ for that text itself")

    def test_a_value_is_not_expanded_again(self) -> None:
        path = Path(self.mktemp())
        path.write_text("reason: ${A}\n", encoding="utf-8")
        self.assertEqual(read_file(str(path), DEV_LAYOUT, {"A": "${B}", "B": "c"}).base["reason"].value, "${B}")

    def test_the_user_is_always_known(self) -> None:
        self.assertEqual(user_of({"USER": "alice"}), "alice")
        self.assertNotEqual(user_of({}), "")
