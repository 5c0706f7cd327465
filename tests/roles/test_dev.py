"""The settings of ``rtunnel dev``: a file, the environment and the command line."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from rtunnel.cli.exit_status import CommandError
from rtunnel.config.layout import CLIENT_LAYOUT, DEV_LAYOUT
from rtunnel.config.reading import which
from rtunnel.config.summary import summary
from rtunnel.dev.arguments import FILE, parse
from rtunnel.options.dev import DEV
from rtunnel.settings import Address, ConnectorSettings, DevSettings, LocalForward

UUID = "5e0a54a2-63dc-4fd4-a30b-c7c3ed7b3c79"
WAY = ("--server", "ws://proxy:8421", "--tunnel", UUID)
MINIMUM = ("shop.example.org", *WAY, "--target", ":3000")
ENVIRON = {"USER": "alice", "HOME": "/nonexistent"}
ROOT = Path(__file__).parent.parent.parent


class DevTestCase(SynchronousTestCase):
    def write(self, text: str) -> str:
        path = Path(self.mktemp())
        path.write_text(text, encoding="utf-8")
        return str(path)

    def parse(self, *argv: str, **environ: str) -> DevSettings:
        return parse(argv, ENVIRON | environ).settings

    def in_file(self, text: str, *argv: str, **environ: str) -> DevSettings:
        whole = f"host: shop.example.org\nserver: ws://proxy:8421\ntunnel: {UUID}\ntarget: :3000\n{text}"
        return self.parse("--config", self.write(whole), *argv, **environ)

    def connector(self, settings: DevSettings) -> ConnectorSettings:
        (connector,) = settings.client.connectors
        return connector

    def refused(self, *argv: str, **environ: str) -> str:
        return str(self.assertRaises(CommandError, self.parse, *argv, **environ))


class CommandLineTests(DevTestCase):
    def test_minimum(self) -> None:
        settings = self.parse(*MINIMUM)
        self.assertEqual(settings.pod_host, "shop.example.org")
        self.assertEqual((settings.run, settings.wait, settings.copied_files, settings.isolate), ((), True, "auto", "auto"))

    def test_command(self) -> None:
        """Its words are its own, whatever they look like; also one with a blank."""
        for words in (("npm", "run", "dev", "--", "--port", "3000"), ("my program",), ("echo", "--help", "")):
            self.assertEqual(self.parse(*MINIMUM, "--", *words).run, words)

    def test_what_is_missing(self) -> None:
        self.assertIn("HOST: missing; say which host you work on", self.refused(*MINIMUM[1:]))
        self.assertIn("--target: missing; say where your application listens", self.refused("shop", *WAY))
        self.assertIn("--server: missing", self.refused("shop", "--target", ":3000"))

    def test_what_the_command_gets(self) -> None:
        settings = self.parse(
            *MINIMUM,
            *("--include", "DB_*,X", "--include", "Y", "--exclude", "Z", "--rename", "A=B", "--set", "C=d=e", "--unset", "F"),
            *("--env-file", ".env", "--local-wins", "--files", "off", "--proxy", "127.0.0.1:1080", "--forward", "postgres:5432"),
            *("--isolate", "none", "--no-wait", "--restart-on-change", "--", "true"),
        )
        env = settings.env
        self.assertEqual(["*".join(glob.pieces) for glob in (*env.include, *env.exclude)], ["DB_*", "X", "Y", "Z"])
        self.assertEqual((env.rename, env.sets, env.unset), ((("A", "B"),), (("C", "d=e"),), ("F",)))
        self.assertEqual((env.file, env.local_wins, settings.copied_files, settings.isolate), (".env", True, "off", "none"))
        self.assertEqual(settings.reach.proxy, Address("127.0.0.1", 1080))
        self.assertEqual(settings.reach.forwards, (LocalForward(Address("127.0.0.1", 5432), "postgres", 5432),))
        self.assertEqual((settings.wait, settings.restart_on_change), (False, True))

    def test_refused(self) -> None:
        for options, error in (
            (("--set", "A"), '--set "A": no pair; write NAME=VALUE'),
            (("--isolate", "some"), '--isolate "some": must be auto, names, net or none'),
            (("--forward", "5432"), '--forward "5432": is no forward'),
            (("--proxy", "0.0.0.0:1080"), "is not on loopback"),
            (("--output", "app.log"), '--output "app.log": is for the output of a command, and there is none'),
            (("--restart-on-change",), "there is no command to start anew"),
            (("--target", "udp://:53", "--session", "a"), "datagrams have no fields to intercept by"),
        ):
            self.assertIn(error, self.refused(*MINIMUM, *options))

    def test_no_value_of_a_variable_in_an_error(self) -> None:
        self.assertNotIn("s3cr3t", repr(self.parse(*MINIMUM, "--set", "TOKEN=s3cr3t")))


class TakingTests(DevTestCase):
    """Which requests come here: nobody loses any who has not been asked."""

    def test_a_session_of_ones_own(self) -> None:
        connector = self.connector(self.parse(*MINIMUM))
        self.assertEqual((connector.session, connector.weight, connector.intercept), ("alice", 1, ()))

    def test_of_the_user_at_the_server(self) -> None:
        settings = self.parse(*MINIMUM, RTUNNEL_AUTH="a.smith@example.org:pw")
        self.assertEqual(self.connector(settings).session, "a-smith-example-org")

    def test_what_is_asked_for(self) -> None:
        self.assertEqual(self.connector(self.parse(*MINIMUM, "--weight", "255")).filters, ())
        connector = self.connector(self.parse(*MINIMUM, "--intercept", "header:X-User=bob"))
        self.assertEqual((connector.session, len(connector.intercept)), ("", 1))
        self.assertEqual(self.connector(self.parse(*MINIMUM, RTUNNEL_WEIGHT="7")).session, "")


class FileTests(DevTestCase):
    def test_example(self) -> None:
        path = str(ROOT / "examples" / "rtunnel.dev.yaml")
        settings = self.parse("--config", path)
        connector = self.connector(settings)
        self.assertEqual((connector.session, connector.lease, connector.reason), ("alice", 28800.0, "work of alice"))
        self.assertEqual(settings.run, ("npm", "run", "dev"))
        self.assertEqual(settings.env.sets, (("LOG_LEVEL", "debug"),))
        self.assertIs(which(path), DEV_LAYOUT)
        self.assertIn("works on shop.example.org, a client; joins tunnel 10bc451e", summary(settings))
        self.assertIn("; runs npm run dev", summary(settings))

    def test_the_file_of_the_folder(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        (folder / FILE).write_text(f"host: shop.example.org\nserver: ws://proxy:8421\ntunnel: {UUID}\ntarget: :3000\n")
        before = Path.cwd()
        self.addCleanup(lambda: os.chdir(before))
        os.chdir(folder)
        self.assertEqual(self.parse().pod_host, "shop.example.org")
        self.assertEqual(self.parse("other.example.org").pod_host, "other.example.org")

    def test_command(self) -> None:
        for text, words in (
            ("run: npm run dev", ("npm", "run", "dev")),
            ("run: sh -c 'a && b'", ("sh", "-c", "a && b")),
            ("run: [sh, -c, 'a && b']", ("sh", "-c", "a && b")),
        ):
            self.assertEqual(self.in_file(text).run, words)
        self.assertEqual(self.in_file("run: npm start", "--", "other").run, ("other",))

    def test_one_value_or_several(self) -> None:
        for text in ("env: {set: {A: 1, B: ''}}", "env: {set: [A=1, B=]}"):
            self.assertEqual(self.in_file(text).env.sets, (("A", "1"), ("B", "")))
        self.assertEqual(self.in_file("env: {set: A=1}").env.sets, (("A", "1"),))
        for text in ("reach: {forward: 'postgres:5432'}", "reach: {forwards: ['postgres:5432']}"):
            self.assertEqual(len(self.in_file(text).reach.forwards), 1)

    def test_files_beside_it(self) -> None:
        path = Path(self.write("")).absolute()
        path.write_text(f"host: a\nserver: ws://proxy:8421\ntunnel: {UUID}\ntarget: :3000\nenv: {{file: .env}}\n")
        self.assertEqual(self.parse("--config", str(path)).env.file, str(path.parent / ".env"))

    def test_precedence(self) -> None:
        settings = self.in_file("reason: file\nname: file\nlease: 1h", "--reason", "typed", RTUNNEL_NAME="variable")
        connector = self.connector(settings)
        self.assertEqual((connector.reason, connector.name, connector.lease), ("typed", "variable", 3600.0))

    def test_variables_of_a_client_only(self) -> None:
        """What runs within another command of ours finds the variables of that."""
        settings = self.in_file("", RTUNNEL_CONFIG="client.yaml", RTUNNEL_FILES="/config=/pod", RTUNNEL_ISOLATE="x")
        self.assertEqual((settings.copied_files, settings.run, settings.isolate), ("auto", (), "auto"))

    def test_errors(self) -> None:
        path = self.write("host: x\nsessoin: y\ntarget: 3000\nrun: {a: b}\nconnectors: []\nenv:\n  exclude: {a: b}\n  alow: x\n")
        self.assertEqual(
            [line.removeprefix(f"{path}:") for line in self.refused("--config", path).splitlines()],
            [
                "2: sessoin: unknown key; did you mean session?",
                '3: target "3000": no colon; write ":3000" for that port, or HOST:3000',
                "4: run: must be a list of single values",
                "5: connectors: a key for the file of a client, not of a dev",
                "7: env.exclude: must be a list of single values",
                "8: env.alow: unknown key; see docs/configuration.md",
            ],
        )

    def test_errors_of_values(self) -> None:
        for text, error in (
            ("run: sh -c 'a", "run: has a quote that is never closed"),
            ("run: ' '", "run: is empty; write a command"),
            ("isolate: maybe", 'isolate "maybe": must be auto, names, net or none'),
            ("session: a b", 'session "a b": not the name of a session'),
        ):
            self.assertIn(error, str(self.assertRaises(CommandError, self.in_file, text)))

    def test_missing_in_the_file(self) -> None:
        path = self.write("host: shop.example.org\n")
        self.assertIn(f"{path}: target: missing", self.refused("--config", path))

    def test_not_mistaken_for_another_file(self) -> None:
        self.assertIs(which(self.write(f"server: ws://proxy:8421\ntunnel: {UUID}\ntarget: :80\n")), CLIENT_LAYOUT)


class ProfileTests(DevTestCase):
    def setUp(self) -> None:
        self.config = Path(self.mktemp()).absolute()
        folder = self.config / "rtunnel" / "profiles"
        for one in (self.config, self.config / "rtunnel", folder):
            one.mkdir(mode=0o700)
        profile = folder / "shop.yaml"
        profile.write_text(f"host: shop.example.org\nserver: ws://proxy:8421\ntunnel: {UUID}\nauth: bob:pw\n")
        profile.chmod(0o600)

    def test_in_place_of_a_host(self) -> None:
        settings = self.parse("shop", "--target", ":3000", XDG_CONFIG_HOME=str(self.config))
        connector = self.connector(settings)
        self.assertEqual((settings.pod_host, str(connector.server), connector.session), ("shop.example.org", "proxy:8421", "bob"))

    def test_in_the_file(self) -> None:
        path = self.write("host: shop\ntarget: :3000\nweight: 5\n")
        settings = self.parse("--config", path, XDG_CONFIG_HOME=str(self.config))
        self.assertEqual((settings.pod_host, self.connector(settings).weight), ("shop.example.org", 5))

    def test_by_option(self) -> None:
        settings = self.parse("--profile", "shop", "--target", ":3000", XDG_CONFIG_HOME=str(self.config))
        self.assertEqual(settings.pod_host, "shop.example.org")


class TableTests(SynchronousTestCase):
    def test_flags_are_unique(self) -> None:
        self.assertEqual(len({option.name for option in DEV}), len(DEV))
        self.assertEqual(len({path for path, _ in DEV_LAYOUT.top.leaves()}), len(list(DEV_LAYOUT.top.leaves())))
