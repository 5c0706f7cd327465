"""The options as twistd parses them, and the help."""

from __future__ import annotations

import os
import re
import sys
from io import StringIO
from typing import Any

from twisted.application.service import IService
from twisted.logger import Logger
from twisted.python import usage
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

import rtunnel
from rtunnel import tap
from rtunnel.ops.logs import HumanObserver, show_from
from rtunnel.options.groups import DAILY
from rtunnel.options.table import CLIENT, SERVER, VISITOR
from rtunnel.settings import ClientSettings, ServerSettings

UUID = "10bc451e-59dc-4c70-999e-91a30813ac78"
PLAIN_SERVER = ("--listen", "127.0.0.1:0", "--entrypoint", "127.0.0.1:0", "--route", f"nginx.local={UUID}")
PLAIN_CLIENT = ("--server", "127.0.0.1:1", "--tunnel", UUID, "--target", ":80")
PLAIN_VISITOR = ("--server", "127.0.0.1:1", "--tunnel", UUID, "--listen", "127.0.0.1:0", "--to", "ssh.svc")


class TapTestCase(SynchronousTestCase):
    """Without options from the environment of the tests."""

    def setUp(self) -> None:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("RTUNNEL_")}
        self.patch(os, "environ", clean)

    def parse(self, *words: str) -> Any:
        options = tap.Options()
        options.parseOptions(words)
        return options

    def refused(self, *words: str) -> str:
        """The line on stderr; its exit status is 1, because it is a text."""
        stopped = self.assertRaises(SystemExit, self.parse, *words)
        assert isinstance(stopped.code, str)
        self.assertNotIn("\n", stopped.code)
        return stopped.code

    def shown(self, *words: str) -> str:
        out = StringIO()
        self.patch(sys, "stdout", out)
        self.assertEqual(self.assertRaises(SystemExit, self.parse, *words).code, 0)
        return out.getvalue()


class ParseTests(TapTestCase):
    def test_server(self) -> None:
        resolved = self.parse("server", *PLAIN_SERVER, "--no-pool").subOptions.resolved
        self.assertIsInstance(resolved.settings, ServerSettings)
        self.assertFalse(resolved.settings.listeners[0].http.pool)

    def test_client(self) -> None:
        resolved = self.parse("client", *PLAIN_CLIENT, "--weight=7").subOptions.resolved
        self.assertIsInstance(resolved.settings, ClientSettings)
        self.assertEqual(resolved.settings.connectors[0].weight, 7)

    def test_urls(self) -> None:
        self.parse("server", "-L", f"tunnel://:0?entrypoint=:0&tunnel=a:{UUID}")
        self.parse("client", "-L", "rtcp://:0/:80", "-F", f"tunnel://a:1?tunnel.id={UUID}")

    def test_environment(self) -> None:
        os.environ["RTUNNEL_WEIGHT"] = "9"
        self.assertEqual(self.parse("client", *PLAIN_CLIENT).subOptions.resolved.settings.connectors[0].weight, 9)


class RefusalTests(TapTestCase):
    def test_lines(self) -> None:
        for words, line in [
            ((), 'rtunnel: command: missing; write for example "rtunnel server", see --help'),
            (("sever",), "rtunnel: sever: unknown command; did you mean server?"),
            (("check", "file"), 'rtunnel: check: not a command of twistd; write "rtunnel check"'),
            (("statsu",), "rtunnel: statsu: unknown command; did you mean status?"),
            (("client", "--to", "x"), 'rtunnel client: --to: an option of "rtunnel visitor", not of "rtunnel client"'),
            (("--hepl",), "rtunnel: --hepl: unknown option; did you mean --help?"),
            (("server",), "rtunnel server: --listen: missing; say where clients connect, e.g. --listen :8421"),
            (("client", "--wieght", "7"), "rtunnel client: --wieght: unknown option; did you mean --weight?"),
            (("client", "--qqq"), "rtunnel client: --qqq: unknown option; --help lists them all"),
            (("client", "-x"), "rtunnel client: -x: unknown option; --help lists them all"),
            (("client", "--weight"), "rtunnel client: --weight: needs a value"),
            (("client", "--tunnel", "x"), 'rtunnel client: --tunnel "x": not a UUID; write it like'),
            (("client", "--backoff", "7"), "rtunnel client: --backoff: ambiguous option; write the whole name"),
            (("client", ":80"), 'rtunnel client: :80: unexpected argument; options begin with "--", see --help'),
            (("server", "--no-pool=1"), "rtunnel server: --no-pool: takes no value"),
            (("server", "--weight", "7"), 'rtunnel server: --weight: an option of "rtunnel client", not of "rtunnel server"'),
            (("server", "-F", "x"), 'rtunnel server: -F: an option of "rtunnel client", not of "rtunnel server"'),
            (
                ("client", "--auth", "me:swordfish"),
                "rtunnel client: --auth: command lines are visible to every user of this machine; use --auth-file",
            ),
        ]:
            with self.subTest(words=words):
                found = self.refused(*words)
                self.assertIn(line, found)
                self.assertNotIn("swordfish", found)


class HelpTests(TapTestCase):
    def test_every_option_is_explained(self) -> None:
        for command, rows in (("server", SERVER), ("client", CLIENT), ("visitor", VISITOR)):
            text = self.shown(command, "--help")
            for option in rows:
                self.assertIn(option.variable if option.secret else f"  {option.flag}", text)

    def test_an_example_stands_before_the_options(self) -> None:
        for words in ((), ("server",), ("client",), ("visitor",)):
            text = self.shown(*words, "--help")
            self.assertLess(text.index("Example"), text.index("\nOptions"))

    def test_plain_options_stand_before_urls(self) -> None:
        for command in ("server", "client"):
            text = self.shown(command, "--help")
            self.assertLess(text.index("\nOptions"), text.index('"tunnel+ws'))

    def test_options_of_every_day_first(self) -> None:
        for command, five in (
            ("client", ("server", "tunnel", "target", "weight", "intercept")),
            ("server", ("listen", "path", "entrypoint", "route", "config")),
            ("visitor", ("server", "tunnel", "listen", "to", "config")),
        ):
            text = self.shown(command, "--help").partition(f"\n{DAILY}:\n")[2].partition("\n\n")[0]
            self.assertEqual(re.findall(r"(?m)^  --(\w+)", text), list(five))

    def test_80_columns(self) -> None:
        """The width of a terminal that nobody has made larger."""
        for words in ((), ("server",), ("client",), ("visitor",)):
            self.assertEqual([line for line in self.shown(*words, "--help").splitlines() if len(line) > 80], [])

    def test_the_examples_work(self) -> None:
        for command in ("server", "client", "visitor"):
            # as a shell joins lines
            text = self.shown(command, "--help").replace("\\\n", "")
            examples = [line.split() for line in text.splitlines() if line.startswith(f"  rtunnel {command}")]
            self.assertEqual(len(examples), 2)
            plain, urls = (self.parse(*(word.strip('"') for word in words[1:])) for words in examples)
            self.assertEqual(plain.subOptions.resolved, urls.subOptions.resolved)

    def test_short(self) -> None:
        for words in ((), ("server",), ("client",)):
            self.assertEqual(self.shown(*words, "-h"), self.shown(*words, "--help"))

    def test_version(self) -> None:
        for words in ((), ("server",), ("client",)):
            self.assertEqual(self.shown(*words, "--version"), f"rtunnel {rtunnel.__version__}\n")


class LogLevelTests(TapTestCase):
    """How much the log has, from the command line to the line."""

    def written(self, *words: str) -> str:
        """What the log of a client with these options has of three events."""
        self.addCleanup(show_from, "info")
        tap.makeService(self.parse("client", *PLAIN_CLIENT, *words))
        out = StringIO()
        log = Logger("rtunnel", observer=HumanObserver(out))
        log.debug("detail")
        log.info("joined")
        log.warn("lost")
        return " ".join(line.split()[-1] for line in out.getvalue().splitlines())

    def test_levels(self) -> None:
        for words, written in [
            ((), "joined lost"),
            (("-v",), "detail joined lost"),
            (("--verbose",), "detail joined lost"),
            (("-q",), "lost"),
            (("--quiet",), "lost"),
        ]:
            self.assertEqual(self.written(*words), written, words)

    def test_both(self) -> None:
        self.assertIn("--quiet: conflicts with --verbose", self.refused("client", *PLAIN_CLIENT, "-v", "-q"))


class ServiceTests(TapTestCase):
    def test_made_and_not_started(self) -> None:
        for words in (("server", *PLAIN_SERVER), ("client", *PLAIN_CLIENT), ("visitor", *PLAIN_VISITOR)):
            service = tap.makeService(self.parse(*words))
            verifyObject(IService, service)
            self.assertFalse(service.running)

    def test_options_are_twisteds(self) -> None:
        self.assertTrue(issubclass(tap.Options, usage.Options))
