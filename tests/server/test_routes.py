"""Ingress rules in force, and a file of them that changes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from uuid import UUID

from twisted.internet.task import Clock
from twisted.logger import LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.ids import EXAMPLE
from rtunnel.ops.start import StartError
from rtunnel.routing.ingress import IngressRule
from rtunnel.server import routes as module
from rtunnel.server.routes import Routes

A = UUID("a0000000-59dc-4c70-999e-91a30813ac78")
B = UUID("b0000000-0000-4a5b-8c9d-0123456789ab")
FIXED = IngressRule("fixed.local", A)


class RoutesTests(SynchronousTestCase):
    """A watched file on a clock of the test; its times of change are set by hand, so that nothing depends on the file system's."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.file = Path(self.mktemp())
        self.changes = self.told = 0
        self.logged: list[str] = []
        observer: Any = self.observe
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def observe(self, event: LogEvent) -> None:
        if event["log_namespace"] == module.__name__:
            self.logged.append(f"{event['log_level'].name} {formatEvent(event)}".replace(str(self.file), "FILE"))

    def write(self, text: str | bytes) -> None:
        self.file.write_bytes(text if isinstance(text, bytes) else text.encode())
        self.changes += 1
        os.utime(self.file, (self.changes, self.changes))

    def start(self, text: str | bytes = "") -> Routes:
        self.write(text)
        routes = self.routes = Routes((FIXED,), str(self.file), reactor=self.clock)
        routes.start(self.changed)
        self.addCleanup(routes.stop)
        self.logged.clear()
        return routes

    def changed(self) -> None:
        self.told += 1

    def look(self, times: int = 2) -> None:
        for _ in range(times):
            self.clock.advance(module.POLL_INTERVAL)

    def hosts(self) -> list[str]:
        """The hosts that are routed."""
        return [rule.pattern for rule in self.routes.table.rules]


class WatchTests(RoutesTests):
    """What a change of the file changes."""

    def test_at_the_start(self) -> None:
        routes = self.start(f"a.local={B}\n")
        self.assertEqual(self.hosts(), ["fixed.local", "a.local"])
        self.assertEqual(routes.tunnels, {A, B})

    def test_change(self) -> None:
        routes = self.start(f"a.local={A}\nb.local={B}\nc.local={A}\n")
        before = self.routes.table
        self.write(f"a.local={A}\nc.local=${A}\nd.local={A}\n")
        self.look()
        self.assertEqual(self.hosts(), ["fixed.local", "a.local", "c.local", "d.local"])
        self.assertEqual((routes.tunnels, self.told), ({A}, 1))
        self.assertEqual(self.logged, ["info rules of FILE: 1 added, 1 removed, 1 changed, 4 in force"])
        self.assertIsNotNone(before.lookup("b.local"), "a table never changes")

    def test_ids_of_examples(self) -> None:
        """A change that brings one is warned of, as the start is."""
        self.start()
        self.write(f"a.local={EXAMPLE}\n")
        self.look()
        self.assertIn("warn in use is an ID of the examples (10bc451e)", self.logged[-1])

    def test_untouched_file(self) -> None:
        self.start(f"a.local={B}\n")
        before = self.routes.table
        self.look(10)
        self.assertIs(self.routes.table, before)
        self.assertEqual(self.logged, [])

    def test_half_a_file(self) -> None:
        """While it changes from look to look it is not read."""
        self.start(f"a.local={B}\n")
        for count in range(1, 5):
            self.write("".join(f"b{number}.local={B}\n" for number in range(count)))
            self.look(1)
            self.assertEqual(self.hosts(), ["fixed.local", "a.local"])
        self.look(1)
        self.assertEqual(self.hosts(), ["fixed.local", "b0.local", "b1.local", "b2.local", "b3.local"])

    def test_replaced_file(self) -> None:
        """Another file under the same name, of the same size and time, is a change."""
        self.start(f"a.local={B}\n")
        other = self.file.with_suffix(".new")
        other.write_text(f"b.local={B}\n", encoding="utf-8")
        os.utime(other, (self.changes, self.changes))
        other.replace(self.file)
        self.look()
        self.assertEqual(self.hosts(), ["fixed.local", "b.local"])

    def test_link_to_another_file(self) -> None:
        """As Kubernetes changes the files of a ConfigMap: the name is a link, and the link moves."""
        first, second = self.file.with_suffix(".1"), self.file.with_suffix(".2")
        first.write_text(f"a.local={B}\n", encoding="utf-8")
        second.write_text(f"b.local={B}\n", encoding="utf-8")
        self.file.symlink_to(first.name)
        routes = self.routes = Routes((), str(self.file), reactor=self.clock)
        routes.start(self.changed)
        self.addCleanup(routes.stop)
        self.file.unlink()
        self.file.symlink_to(second.name)
        self.look()
        self.assertEqual(self.hosts(), ["b.local"])

    def test_emptied_file(self) -> None:
        self.start(f"a.local={B}\n")
        self.write("# nothing for now\n")
        self.look()
        self.assertEqual(self.hosts(), ["fixed.local"])

    def test_no_file(self) -> None:
        routes = Routes((FIXED,), None, reactor=self.clock)
        routes.start(self.changed)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        routes.stop()

    def test_stop(self) -> None:
        routes = self.start(f"a.local={B}\n")
        routes.stop()
        self.write("")
        self.look()
        self.assertEqual(self.hosts(), ["fixed.local", "a.local"])


class BrokenTests(RoutesTests):
    """Files that cannot be used."""

    def broken(self, text: str | bytes, *lines: str) -> None:
        """Nothing changes, it is said once why, and the next good file is taken."""
        routes = self.start(f"a.local={B}\n")
        self.write(text)
        self.look(10)
        self.assertEqual(self.hosts(), ["fixed.local", "a.local"])
        self.assertEqual((routes.tunnels, self.told), ({A, B}, 0))
        stay = "error the rules stay as they were, because FILE cannot be used; fix it, it will be read again"
        self.assertEqual(self.logged, [*(f"error {line}" for line in lines), stay])
        self.write(f"b.local={B}\n")
        self.look()
        self.assertEqual(self.hosts(), ["fixed.local", "b.local"])

    def test_no_rule(self) -> None:
        self.broken(
            f"c.local={A}\nd.local\ne.local=1\n",
            'FILE:2: "d.local": is not a rule; write HOST=UUID, e.g. nginx.local=10bc451e-59dc-4c70-999e-91a30813ac78',
            'FILE:3: "e.local=1": has no valid UUID; write it like 10bc451e-59dc-4c70-999e-91a30813ac78',
        )

    def test_contradiction(self) -> None:
        self.broken(
            f"fixed.local={B}\n",
            'FILE:1: "fixed.local=b0000000...": this host has another tunnel in the settings; name each host once',
        )

    def test_many_faults(self) -> None:
        text = "is not a rule; write HOST=UUID, e.g. nginx.local=10bc451e-59dc-4c70-999e-91a30813ac78"
        self.broken("x\n" * 25, *(f'FILE:{line}: "x": {text}' for line in range(1, 11)), "FILE: and 15 more")

    def test_binary(self) -> None:
        self.broken(b"a.local\n\xff\xfe", "FILE:2: is not UTF-8 text; write host names in their xn-- form")

    def test_control_characters(self) -> None:
        self.broken("a\x1b[2J\n", 'FILE:1: "a\\x1b[2J": is not a rule; write HOST=UUID, e.g. nginx.local=' + str(EXAMPLE))

    def test_too_large(self) -> None:
        self.patch(module, "MAX_FILE", 1 << 20)
        self.broken("#" * ((1 << 20) + 1), "FILE: is larger than 1 MiB, which is too large for ingress rules")

    def test_gone(self) -> None:
        self.start(f"a.local={B}\n")
        self.file.unlink()
        self.look(10)
        self.assertEqual(self.hosts(), ["fixed.local", "a.local"])
        self.assertEqual(self.logged[0], "error FILE: cannot be read: No such file or directory")
        self.assertEqual(len(self.logged), 2)
        self.write(f"b.local={B}\n")
        self.look()
        self.assertEqual(self.hosts(), ["fixed.local", "b.local"])

    def test_at_the_start(self) -> None:
        """The server does not start."""
        error = self.assertRaises(StartError, Routes, (), str(self.file), reactor=self.clock)
        self.assertEqual(str(error), f"{self.file}: cannot be read: No such file or directory")
        self.write("x\ny\nz\n")
        error = self.assertRaises(StartError, Routes, (), str(self.file), reactor=self.clock)
        self.assertIn(f'{self.file}:1: "x": is not a rule; write HOST=UUID', str(error))
        self.assertIn(" (and 2 more)", str(error))
        self.assertNotIn("\n", str(error))
