"""The environment of a command, and what leads to local ports and copies."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from rtunnel.options.table import CLIENT, SERVER, VISITOR
from rtunnel.podenv.merging import Choice, merge
from rtunnel.podenv.variables import Variable
from rtunnel.routing.globs import Glob
from rtunnel.running.environment import LOCAL, MovedFiles, applied, moved, proxied, without_local
from rtunnel.settings import Address


class MergedTests(SynchronousTestCase):
    def test_precedence(self) -> None:
        """Command line, file, pod, machine; what is unset is removed."""
        pod = [Variable(name, "pod", "value") for name in ("A", "B", "C", "D")]
        choice = Choice(file={"A": "file", "B": "file"}, sets={"A": "set"}, unset=frozenset(("GONE", "D")))
        environ = applied({"C": "machine", "E": "machine", "GONE": "machine", "D": "machine"}, merge(pod, choice, {}))
        self.assertEqual(environ, {"A": "set", "B": "file", "C": "pod", "E": "machine"})

    def test_local_wins(self) -> None:
        local = {"A": "machine"}
        merged = merge([Variable("A", "pod", "value"), Variable("B", "pod", "value")], Choice(local_wins=True), local)
        self.assertEqual(applied(local, merged), {"A": "machine", "B": "pod"})

    def test_local(self) -> None:
        """What no pod decides, also where its name is asked for."""
        variables = [Variable(name, "pod", "value") for name in (*sorted(LOCAL), "A")]
        kept = without_local(variables)
        choice = Choice(include=(Glob("PATH"), Glob("HOME"), Glob("*")))
        self.assertEqual(applied({"PATH": "/bin"}, merge(kept, choice, {})), {"PATH": "/bin", "A": "pod"})

    def test_names_are_no_options(self) -> None:
        """An rtunnel within the command does not take what it is told for its own options."""
        variables = {option.variable for option in (*SERVER, *CLIENT, *VISITOR)}
        self.assertEqual([name for name in variables if name.startswith("RTUNNEL_RUN_")], [])


class LeadingTests(SynchronousTestCase):
    def test_files(self) -> None:
        """A value that is a path of the pod's files, and no other."""
        environ = {
            "A": "/config/app.yaml",
            "B": "/config",
            "C": "/configuration",
            "D": "x /config",
            "E": "/other/a",
            "F": "/config/x",
        }
        found = moved(environ, "ABCDE", MovedFiles("/copy", ("/config", "/data")))
        self.assertEqual(found, {**environ, "A": "/copy/config/app.yaml", "B": "/copy/config"})

    def test_proxy(self) -> None:
        found = proxied({"HTTP_PROXY": "http://old", "JAVA_TOOL_OPTIONS": "-Xmx1g"}, Address("127.0.0.1", 1080))
        for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"):
            self.assertEqual(found[name], "http://127.0.0.1:1080")
        self.assertEqual(found["NODE_USE_ENV_PROXY"], "1")
        self.assertEqual(found["NO_PROXY"], "localhost,127.0.0.1,::1")
        self.assertTrue(found["JAVA_TOOL_OPTIONS"].startswith("-Xmx1g -Dhttp.proxyHost=127.0.0.1 -Dhttp.proxyPort=1080 "))
        self.assertTrue(proxied({}, Address("127.0.0.1", 1))["JAVA_TOOL_OPTIONS"].startswith("-Dhttp.proxyHost"))
