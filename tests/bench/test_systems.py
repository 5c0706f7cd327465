from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from ipaddress import ip_network
from pathlib import Path
from typing import cast

from twisted.trial.unittest import SynchronousTestCase

from bench import compiled
from bench.service import project_environment
from bench.stage import Stage
from bench.systems import every_system
from bench.systems.base import Setup
from bench.systems.rtunnel import Rtunnel, RtunnelBefore, RtunnelInterpreted, RtunnelWss, commit_of
from bench.systems.tunnel import TunnelSystem
from rtunnel.options.table import SERVER, find
from rtunnel.roles import SERVER_ROLE
from rtunnel.settings import ServerSettings
from tests.support.processes import needed


class Notes:
    """Takes the place of a stage: notes what would be started."""

    def __init__(self) -> None:
        self.started: list[tuple[list[str], dict[str, str]]] = []

    def start(self, role: str, argv: list[str], env: dict[str, str]) -> None:
        self.started.append((argv, env))


def server_of(system: TunnelSystem, setup: Setup) -> tuple[list[str], dict[str, str]]:
    """Command line and variables of a system's server."""
    notes = Notes()
    system.start_server(setup, cast(Stage, notes), 2, 3)
    return notes.started[0]


def settings_of(system: TunnelSystem, setup: Setup) -> ServerSettings:
    """What a server makes of its command line."""
    argv, _ = server_of(system, setup)
    words = argv[argv.index("server") + 1 :]
    options = [find(SERVER, flag.lstrip("-")) for flag in words[::2]]
    return SERVER_ROLE.load([(option, option.flag, text) for option, text in zip(options, words[1::2], strict=True)], {}).settings


class ServerTests(SynchronousTestCase):
    """The command line says what the case asks for, in words that the program knows."""

    def setUp(self) -> None:
        self.patch(compiled, "tree", lambda: Path("/compiled"))

    def test_nothing_is_believed_nor_written_by_default(self) -> None:
        settings = settings_of(Rtunnel("rtunnel", "rtunnel"), Setup((1,)))
        self.assertEqual(settings.listeners[0].http.trusted_proxies, ())
        self.assertIsNone(settings.access_log.file)

    def test_ingress_is_believed(self) -> None:
        settings = settings_of(Rtunnel("rtunnel", "rtunnel"), Setup((1,), trusted=True))
        self.assertEqual(settings.listeners[0].http.trusted_proxies, (ip_network("127.0.0.1/32"),))

    def test_access_log(self) -> None:
        for log_format in ("text", "json"):
            log = settings_of(Rtunnel("rtunnel", "rtunnel"), Setup((1,), access_log=log_format)).access_log
            self.assertEqual((log.file, log.format), ("access.log", log_format))

    def test_many_rules_leave_it_as_it_is(self) -> None:
        settings = settings_of(Rtunnel("rtunnel", "rtunnel"), Setup((1,), rules=3, trusted=True, access_log="json"))
        self.assertEqual(len(settings.listeners[0].rules), 3)
        self.assertEqual(settings.listeners[0].http.trusted_proxies, (ip_network("127.0.0.1/32"),))
        self.assertEqual(settings.access_log.format, "json")


class WssTests(SynchronousTestCase):
    def test_both_are_measured_in_the_same_cases(self) -> None:
        systems = {system.name: system for system in every_system()}
        self.assertEqual(systems["gost-wss"].cases, RtunnelWss.cases)

    def test_gost_speaks_it(self) -> None:
        system = {system.name: system for system in every_system()}["gost-wss"]
        assert isinstance(system, TunnelSystem)
        self.patch(os, "environ", {**os.environ, "RTUNNEL_BENCH_GOST": "/opt/gost"})
        notes = Notes()
        system.start_server(Setup((1,)), cast(Stage, notes), 2, 3)
        system.start_clients(Setup((1,)), cast(Stage, notes), 2)
        server, client = (argv for argv, _ in notes.started)
        self.assertTrue(server[2].startswith("tunnel+wss://127.0.0.1:2?"), server)
        self.assertTrue(client[-1].startswith("tunnel+wss://127.0.0.1:2?"), client)


class BeforeTests(SynchronousTestCase):
    """Another rtunnel, named by the Python of its environment."""

    def setUp(self) -> None:
        self.before = RtunnelBefore("before", "rtunnel before")

    def name(self, program: str | None) -> None:
        """Set the variable."""
        environ = {key: value for key, value in os.environ.items() if key != "RTUNNEL_BENCH_BEFORE"}
        if program is not None:
            environ["RTUNNEL_BENCH_BEFORE"] = program
        self.patch(os, "environ", environ)

    def python(self, words: str) -> str:
        """A program that says something and ends, as a Python would."""
        path = Path(self.mktemp()).absolute()
        path.write_text(f"#!/bin/sh\n{words}\n", encoding="ascii")
        path.chmod(0o755)
        return str(path)

    def test_left_out_when_none_is_named(self) -> None:
        self.name(None)
        self.assertEqual(self.before.absent(), "RTUNNEL_BENCH_BEFORE is not set")

    def test_left_out_when_it_has_no_rtunnel(self) -> None:
        self.name(self.python("echo \"ModuleNotFoundError: No module named 'rtunnel'\" >&2; exit 1"))
        self.assertEqual(self.before.absent(), "the Python that RTUNNEL_BENCH_BEFORE names has no package rtunnel")

    def test_there_when_it_has_one(self) -> None:
        self.name(self.python("echo /opt/lib/rtunnel/__init__.py"))
        self.assertIsNone(self.before.absent())

    def test_runs_that_python_and_nothing_of_this_tree(self) -> None:
        named = self.python("exit 0")
        self.name(named)
        argv, environment = server_of(self.before, Setup((1,)))
        self.assertEqual(argv[:3], [named, "-m", "rtunnel"])
        self.assertEqual(environment["PYTHONPATH"], "")

    def test_ours_runs_this_one(self) -> None:
        self.name(self.python("exit 0"))
        argv, environment = server_of(RtunnelInterpreted("rtunnel-interpreted", "rtunnel, not compiled"), Setup((1,)))
        self.assertEqual((argv[0], environment["PYTHONPATH"]), (sys.executable, project_environment()["PYTHONPATH"]))

    def test_ours_runs_what_was_compiled(self) -> None:
        self.patch(compiled, "tree", lambda: Path("/compiled"))
        environment = server_of(Rtunnel("rtunnel", "rtunnel"), Setup((1,)))[1]
        self.assertTrue(environment["PYTHONPATH"].startswith("/compiled:"))

    def test_ours_runs_the_sources_without_a_compiler(self) -> None:
        """As it would be installed there."""
        self.patch(compiled, "missing", lambda: "there is no C compiler")
        self.addCleanup(compiled.tree.cache_clear)
        compiled.tree.cache_clear()
        environment = server_of(Rtunnel("rtunnel", "rtunnel"), Setup((1,)))[1]
        self.assertEqual(environment["PYTHONPATH"], project_environment()["PYTHONPATH"])


class CommitTests(SynchronousTestCase):
    """Which version was measured."""

    def setUp(self) -> None:
        # not below this work tree
        directory = tempfile.TemporaryDirectory(prefix="bench-test-")
        self.addCleanup(directory.cleanup)
        self.tree = Path(directory.name)

    def git(self, *words: str) -> str:
        done = subprocess.run(
            [needed("git"), "-c", "user.name=a", "-c", "user.email=a@example.org", *words],
            cwd=self.tree,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    def test_none_outside_of_a_work_tree(self) -> None:
        self.assertIsNone(commit_of(self.tree))
        self.assertIsNone(commit_of(self.tree / "missing"))

    def test_commit_and_whether_files_have_changed(self) -> None:
        self.git("init", "--quiet")
        package = self.tree / "src" / "rtunnel"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("", encoding="ascii")
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "First")
        commit = self.git("rev-parse", "--short", "HEAD")
        self.assertEqual(commit_of(package), commit)
        (package / "__init__.py").write_text("x = 1\n", encoding="ascii")
        self.assertEqual(commit_of(package), f"{commit}-dirty")
