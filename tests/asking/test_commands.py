"""The arguments of the commands that ask a server; how the table looks."""

from __future__ import annotations

from io import StringIO

from rich.console import Console

from rtunnel.asking import table
from rtunnel.asking.arguments import AskingParser
from rtunnel.cli.exit_status import CommandError
from rtunnel.commands import find
from rtunnel.settings import Credentials
from rtunnel.wire.control import Listed
from tests.commands.harness import CommandTestCase
from tests.support.ids import TUNNEL

NAMES = ("list", "who", "renew", "release", "take", "revoke")


class ArgumentTests(CommandTestCase):
    def parser(self) -> AskingParser:
        return AskingParser("list", description="", examples="")

    def test_the_command_line(self) -> None:
        words = ("--server", "wss://shop.example.org/proxy", "--tunnel", str(TUNNEL), "--no-verify", "--host-header", "shop")
        arguments, settings = self.parser().parse([*words, "--json"], {})
        self.assertTrue(arguments.json)
        self.assertEqual((settings.server.host, settings.server.port, settings.transport), ("shop.example.org", 443, "wss"))
        self.assertEqual((settings.path, settings.tunnel, settings.host, settings.tls.verify), ("/proxy", TUNNEL, "shop", False))

    def test_the_environment(self) -> None:
        """As of a client: its other variables do no harm."""
        environ = {
            "RTUNNEL_SERVER": "server:80",
            "RTUNNEL_TUNNEL": str(TUNNEL),
            "RTUNNEL_AUTH": "ada:swordfish",
            "RTUNNEL_TARGET": ":3000",
            "RTUNNEL_INTERCEPT": "header:X-User=ada",
        }
        _, settings = self.parser().parse([], environ)
        self.assertEqual((settings.server.host, settings.credentials), ("server", Credentials("ada", "swordfish")))

    def test_a_configuration_file(self) -> None:
        """That of the client; options have the last word."""
        path = self.write(f"server: server:80\nconnectors:\n- tunnel: {TUNNEL}\n  target: :3000\n")
        _, settings = self.parser().parse(["--config", path, "--server", "other:81"], {})
        self.assertEqual((settings.server.host, settings.tunnel), ("other", TUNNEL))

    def test_a_url_of_gost(self) -> None:
        _, settings = self.parser().parse(["-F", f"tunnel+ws://ada:swordfish@server:80?tunnel.id={TUNNEL}"], {})
        self.assertEqual((settings.tunnel, settings.credentials), (TUNNEL, Credentials("ada", "swordfish")))

    def test_missing(self) -> None:
        for argv, words in (([], "--server: missing"), (["--server", "server:80"], "say which tunnel to ask about")):
            error = self.assertRaises(CommandError, self.parser().parse, argv, {})
            self.assertIn(words, str(error))

    def test_help(self) -> None:
        """Each command has an example and says what its exit status means."""
        for name in NAMES:
            status, out, _ = self.run_in_process(name, "--help")
            self.assertEqual(status, 0)
            self.assertIn(f"  rtunnel {name} ", out)
            self.assertIn("The exit status is 0 when it was done", out)

    def test_wrong_arguments(self) -> None:
        for argv, words in (
            (("who",), "HOST"),
            (("revoke", "alice"), "--because"),
            (("take", "pod.local"), "--ask"),
            (("renew", "--lease", "soon"), 'lease: "soon": not a time'),
        ):
            status, out, err = self.run_in_process(*argv)
            self.assertEqual((status, out), (1, ""))
            self.assertIn(words, err)
            self.assertEqual(len(err.splitlines()), 1)

    def run_in_process(self, name: str, *argv: str) -> tuple[int, str, str]:
        """Run a command that ends before it needs the reactor."""
        for stream in (self.out, self.err):
            stream.seek(0)
            stream.truncate()
        command = find(name)
        assert command is not None
        work = command._import().main(argv, None)
        try:
            work.send(None)
        except SystemExit as end:
            return int(end.code or 0), self.out.getvalue(), self.err.getvalue()
        raise AssertionError("it did not end")


class TableTests(CommandTestCase):
    def shown(self, *leases: Listed) -> str:
        out = StringIO()
        self.patch(table, "Console", lambda **more: Console(file=out, width=200))
        table.print_leases(leases)
        return out.getvalue()

    def test_rows(self) -> None:
        text = self.shown(
            Listed("ab", "10bc451e", "a.example.org", "laptop", "alice", "[red]PROJ-12", "path=/", 125.0, 30.0, 5.0, "joined"),
            Listed("cd", "10bc451e", "", "bob", "bob", "", "weight 1", 5.0, 0.0, -1.0, "held"),
            Listed(tunnel="10bc451e", what="weight 3", state="joined"),
        )
        self.assertRegex(text, r"\nab +a\.example\.org +alice \(laptop\) +path=/ +\[red\]PROJ-12 +2m 5s ago +30s +5s ago +up")
        self.assertRegex(text, r"\ncd +10bc451e +bob +weight 1 +- +5s ago +- +- +lost")
        self.assertRegex(text, r"\n- +10bc451e +\? +weight 3 +- +- +- +- +up")

    def test_nobody(self) -> None:
        self.assertEqual(self.shown(), "nobody has joined\n")
