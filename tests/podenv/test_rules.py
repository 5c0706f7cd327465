"""What a pod gives out, what a laptop takes, in which order; documents and sources."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.commands.pod_env import collect
from rtunnel.podenv.merging import Choice, merge
from rtunnel.podenv.private_file import write_private
from rtunnel.podenv.rules import EnvRules
from rtunnel.podenv.sources import SourceError, read_dotenv, read_source
from rtunnel.podenv.variables import DocumentError, Variable, read_document, write_document
from rtunnel.routing.globs import Glob

LEVEL = Variable("LOG_LEVEL", "debug", "configmap/app")
PLAIN = Variable("MODE", "dev", "value")
PASSWORD = Variable("DB_PASSWORD", "swordfish", "secret/db")
UNKNOWN = Variable("TOKEN", "xyz")


NAMES = st.text(st.characters(exclude_characters="=\0"), min_size=1)
VALUES = st.text(st.characters(exclude_characters="\0"))
VARIABLES = st.lists(st.builds(Variable, NAMES, VALUES), unique_by=lambda one: one.name)


def globs(text: str) -> tuple[Glob, ...]:
    return tuple(map(Glob, text.split(",")))


class RuleTests(SynchronousTestCase):
    def given(self, allow: str, secret: str = "", deny: str = "", *more: Variable) -> dict[str, str | None]:
        rules = EnvRules(globs(allow), globs(secret) if secret else (), globs(deny) if deny else ())
        return {one.name: one.value for one in rules.given((LEVEL, PLAIN, PASSWORD, UNKNOWN, *more), values=True)}

    def test_secrets_are_kept_back(self) -> None:
        """Their names are told; what has no known source counts as one."""
        self.assertEqual(self.given("*"), {"LOG_LEVEL": "debug", "MODE": "dev", "DB_PASSWORD": None, "TOKEN": None})

    def test_secrets_by_pattern(self) -> None:
        self.assertEqual(self.given("MODE", "DB_*"), {"MODE": "dev", "DB_PASSWORD": "swordfish"})

    def test_denied(self) -> None:
        self.assertEqual(self.given("*", "*", "*_PASSWORD,TOKEN"), {"LOG_LEVEL": "debug", "MODE": "dev"})

    def test_names_only(self) -> None:
        rules = EnvRules(globs("*"), globs("DB_*"))
        given = {one.name: (one.value, one.withheld) for one in rules.given((PLAIN, PASSWORD, UNKNOWN), values=False)}
        self.assertEqual(given, {"MODE": (None, False), "DB_PASSWORD": (None, False), "TOKEN": (None, True)})

    def test_private_ones(self) -> None:
        """What belongs to the container, or would run code, is given by no pattern; literally it is."""
        private = [
            Variable(name, "x", "value")
            for name in (
                "PATH",
                "HOME",
                "LD_PRELOAD",
                "NODE_OPTIONS",
                "RTUNNEL_AUTH",
                "KUBERNETES_SERVICE_HOST",
                "REDIS_SERVICE_HOST",
            )
        ]
        link, port = Variable("REDIS_PORT", "tcp://10.0.0.1:6379", "value"), Variable("DB_PORT", "5432", "value")
        found = self.given("*", "*", "", *private, link, port)
        self.assertEqual(set(found), {"LOG_LEVEL", "MODE", "DB_PASSWORD", "TOKEN", "DB_PORT"})
        found = self.given("NODE_OPTIONS,REDIS_PORT", "", "", *private, link)
        self.assertEqual(found, {"NODE_OPTIONS": "x", "REDIS_PORT": link.value})


class MergeTests(SynchronousTestCase):
    def merged(self, choice: Choice, local: dict[str, str] | None = None) -> dict[str, str | None]:
        return {one.name: one.value for one in merge((LEVEL, PLAIN, PASSWORD), choice, local or {})}

    def test_precedence(self) -> None:
        """Command line, file, pod, this machine."""
        choice = Choice(file={"LOG_LEVEL": "file", "MODE": "file"}, sets={"LOG_LEVEL": "set"})
        self.assertEqual(self.merged(choice, {"MODE": "local"}), {"LOG_LEVEL": "set", "MODE": "file", "DB_PASSWORD": "swordfish"})
        (level, *_) = [one for one in merge((LEVEL,), choice, {"LOG_LEVEL": "local"}) if one.name == "LOG_LEVEL"]
        self.assertEqual(level.sources, ("--set", "--env-file", "the pod (configmap/app)", "this machine"))

    def test_local_wins(self) -> None:
        """Over the pod, not over the file."""
        choice = Choice(file={"A": "file"}, local_wins=True)
        found = self.merged(choice, {"MODE": "local", "A": "local"})
        self.assertEqual((found["MODE"], found["A"], found["LOG_LEVEL"]), (None, "file", "debug"))

    def test_include_exclude_rename_unset(self) -> None:
        choice = Choice(include=globs("*_*"), exclude=globs("DB_*"), rename={"LOG_LEVEL": "LEVEL"})
        self.assertEqual(self.merged(choice), {"LEVEL": "debug"})
        found = self.merged(Choice(unset=frozenset(("MODE", "DB_PASSWORD"))))
        self.assertEqual(found, {"LOG_LEVEL": "debug", "MODE": None, "DB_PASSWORD": None})

    def test_a_hostile_pod(self) -> None:
        """Nothing that would run code here is taken, unless it is named."""
        names = ("LD_PRELOAD", "PATH", "BASH_ENV", "GIT_SSH_COMMAND", "PYTHONSTARTUP")
        hostile = [Variable(name, "evil", "value") for name in names]
        self.assertEqual(merge(hostile, Choice(), {}), [])
        (taken,) = merge(hostile, Choice(include=globs("PATH")), {})
        self.assertEqual((taken.name, taken.value), ("PATH", "evil"))

    def test_withheld_ones(self) -> None:
        self.assertEqual(merge([Variable("A", None, "secret/a", withheld=True)], Choice(), {}), [])

    def test_secrets_stay_secrets(self) -> None:
        """A value of the pod, however it is named; not what replaces it."""
        (renamed,) = merge([PASSWORD], Choice(rename={"DB_PASSWORD": "PGPASSWORD"}), {})
        (replaced,) = merge([PASSWORD], Choice(sets={"DB_PASSWORD": "mine"}), {})
        self.assertEqual((renamed.secret, replaced.secret), (True, False))
        self.assertNotIn("swordfish", repr((renamed, PASSWORD)))


class DocumentTests(SynchronousTestCase):
    @given(VARIABLES)
    def test_round_trip(self, variables: list[Variable]) -> None:
        self.assertEqual(read_document(write_document(variables)), variables)

    def test_refused(self) -> None:
        for data, words in (
            (b"", "not JSON"),
            (b"[" * 100_000, "not JSON"),
            (b"[]", "is not what"),
            (b'{"pod_env_version": 2, "variables": {}}', "is not what"),
            (b'{"pod_env_version": 1, "variables": {"A": 1}}', "malformed"),
            (b'{"pod_env_version": 1, "variables": {"A": {"value": 1}}}', "not a text"),
            (b'{"pod_env_version": 1, "variables": {"A=B": {}}}', "none that an environment can have"),
            (b'{"pod_env_version": 1, "variables": {"A": {"value": "a\\u0000b"}}}', "none that an environment can have"),
            (b" " * (5 << 20), "larger than"),
        ):
            self.assertIn(words, str(self.assertRaises(DocumentError, read_document, data)))


class SourceTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir(parents=True)

    def test_process(self) -> None:
        found = {one.name: one for one in read_source("/proc/self/environ")}
        self.assertEqual((found["PATH"].value is not None, found["PATH"].source), (True, "unknown"))

    def test_dotenv(self) -> None:
        """As its authors mean it; ``$`` is itself."""
        file = self.folder / "pod.env"
        file.write_text("# comment\nexport A=b # more\nB='$A ${A}'\nC=\"two\\nlines\"\nD\n")
        self.assertEqual({one.name: one.value for one in read_source(str(file))}, {"A": "b", "B": "$A ${A}", "C": "two\nlines"})

    def test_document(self) -> None:
        """What pod-env writes: sources, the first that names a variable; nothing of the container itself."""
        file = self.folder / "env.json"
        sources = [("secret/db", globs("DB_*")), ("configmap/app", globs("LOG_LEVEL")), ("value", globs("*"))]
        environ = {"DB_PASSWORD": "x", "LOG_LEVEL": "y", "MODE": "z", "PATH": "/bin", "HOME": "/", "KUBERNETES_PORT": "tcp://1:2"}
        write_private(str(file), write_document(collect(environ, sources)))
        self.assertEqual(
            {one.name: one.source for one in read_source(str(file))},
            {"DB_PASSWORD": "secret/db", "LOG_LEVEL": "configmap/app", "MODE": "value"},
        )
        self.assertEqual(stat.S_IMODE(file.stat().st_mode), 0o600)
        self.assertEqual(os.listdir(self.folder), ["env.json"])

    def test_unreadable(self) -> None:
        """Why is said, and nothing of what is in it."""
        broken = self.folder / "broken.json"
        broken.write_text('{"secret": "swordfish"')
        latin = self.folder / "latin.env"
        latin.write_bytes(b"A=\xe9")
        for path, words in ((self.folder / "none", "No such file"), (broken, "not JSON"), (latin, "not UTF-8")):
            error = str(self.assertRaises(SourceError, read_source, str(path)))
            self.assertIn(words, error)
            self.assertNotIn("swordfish", error)
        self.assertIn("No such file", str(self.assertRaises(SourceError, read_dotenv, str(self.folder / "none"))))
