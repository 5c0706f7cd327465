"""Configuration files as settings: their keys, their precedence, and every error with its line."""

from __future__ import annotations

import os
from pathlib import Path

import attrs
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.config.layout import CLIENT_LAYOUT, LAYOUTS, SERVER_LAYOUT, FileLayout, Group, Leaf
from rtunnel.config.reading import which
from rtunnel.options.policies import POLICY
from rtunnel.options.table import CLIENT, SERVER, Option, find
from rtunnel.roles import CLIENT_ROLE, SERVER_ROLE, Resolved
from rtunnel.settings import Address, ClientSettings, Credentials, ServerSettings, SettingsError

UUID = "10bc451e-59dc-4c70-999e-91a30813ac78"
OTHER = "59dc451e-59dc-4c70-999e-91a30813ac78"

ONE_LISTENER = f"""\
listen: ws://:8421/proxy
entrypoint: :80
route: nginx.local={UUID}
"""
TWO_LISTENERS = f"""\
http:
  head-timeout: 5s
listeners:
  - listen: :8421
    entrypoint: :80
    routes:
      nginx.local: {UUID}
  - listen: tcp://:8422
    entrypoints:
      - :81
      - :82
    routes:
      - a.local={OTHER}
      - b.local: {UUID}
    http:
      head-timeout: 7s
      pool: off
    mux:
      version: 1
"""
ONE_CONNECTOR = f"""\
server: a:1
tunnel: {UUID}
target: :80
"""


def words(rows: tuple[Option, ...], *typed: str) -> list[tuple[Option, str, str]]:
    """``--path /a`` as the command line passes it on."""
    pairs = zip(typed[::2], typed[1::2], strict=True)
    return [(find(rows, flag.lstrip("-")), flag, text) for flag, text in pairs]


class FileTestCase(SynchronousTestCase):
    def write(self, text: str) -> str:
        path = Path(self.mktemp())
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(0o600)
        return str(path)

    def asked(self, text: str, *typed: str, **environ: str) -> Resolved[ServerSettings]:
        variables = {f"RTUNNEL_{name}": value for name, value in environ.items()}
        return SERVER_ROLE.load(words(SERVER, "--config", self.write(text), *typed), variables)

    def server(self, text: str, *typed: str, **environ: str) -> ServerSettings:
        return self.asked(text, *typed, **environ).settings

    def client(self, text: str, *typed: str, **environ: str) -> ClientSettings:
        variables = {f"RTUNNEL_{name}": value for name, value in environ.items()}
        return CLIENT_ROLE.load(words(CLIENT, "--config", self.write(text), *typed), variables).settings

    def errors(self, ask: object, text: str, *typed: str, **environ: str) -> list[str]:
        """What is wrong, without the name of the file."""
        assert callable(ask)
        error = self.assertRaises(SettingsError, ask, text, *typed, **environ)
        lines = []
        for line in str(error).splitlines():
            _, _, rest = line.partition("/temp")
            lines.append(rest.partition(":")[2] if rest else line)
        return lines


class MeaningTests(FileTestCase):
    def test_standalone_entrypoint(self) -> None:
        """One of several listeners may be an entrypoint with rules of its own, without an address for clients."""
        settings = self.server(
            f"""\
http:
  head-timeout: 5s
listeners:
  - listen: :8421
    entrypoint: :80
    route: a.local={UUID}
  - entrypoint: :81
    routes-file: routes
    proxy-protocols: [10.0.0.0/8, fd00::/8]
"""
        )
        first, standalone = settings.listeners
        self.assertEqual((first.listen, standalone.listen), (Address("", 8421), None))
        self.assertEqual((standalone.entrypoints, standalone.rules, standalone.http.head_timeout), ((Address("", 81),), (), 5))
        self.assertEqual(list(map(str, standalone.proxy_protocol)), ["10.0.0.0/8", "fd00::/8"])
        path = Path(standalone.routes_file or "")
        self.assertTrue(path.is_absolute())
        self.assertEqual(path.name, "routes")

    def test_policies(self) -> None:
        """A map says the same as a line."""
        text = """\
policies:
  - {host: shop.example.org, global: owners, require: [session, "header:X-User"], max-lease: 12h, on-absent: 503}
  - "*.example.org idle=30m"
"""
        line = "shop.example.org global=owners require=session,header:X-User max-lease=12h on-absent=503"
        settings = self.server(ONE_LISTENER + text).listeners[0]
        self.assertEqual(settings.policies, (POLICY.parse(line), POLICY.parse("*.example.org idle=30m")))
        self.assertEqual(self.server(ONE_LISTENER + f"policy: {line}\n").listeners[0].policies, (POLICY.parse(line),))

    def test_one_listener(self) -> None:
        """Without a list the top is the only item; the same as the options."""
        typed = ("--listen", "ws://:8421/proxy", "--entrypoint", ":80", "--route", f"nginx.local={UUID}")
        self.assertEqual(self.server(ONE_LISTENER), SERVER_ROLE.load(words(SERVER, *typed), {}).settings)

    def test_several_listeners(self) -> None:
        first, second = self.server(TWO_LISTENERS).listeners
        self.assertEqual((first.listen, first.transport, first.http.head_timeout), (Address("", 8421), "ws", 5.0))
        self.assertEqual((second.listen, second.transport, second.http.head_timeout), (Address("", 8422), "tcp", 7.0))
        self.assertEqual(second.entrypoints, (Address("", 81), Address("", 82)))
        self.assertEqual([rule.pattern for rule in second.rules], ["a.local", "b.local"])
        self.assertEqual((first.http.pool, second.http.pool), (True, False))
        self.assertEqual((first.mux.version, second.mux.version), (2, 1))

    def test_several_connectors(self) -> None:
        text = f"server: ws://a:1/p\nconnectors:\n- tunnel: {UUID}\n  target: :80\n- tunnel: {OTHER}\n  targets: [':81', ':82']\n"
        connectors = self.client(text + "  server: b:2\n").connectors
        self.assertEqual([one.server for one in connectors], [Address("a", 1), Address("b", 2), Address("b", 2)])
        self.assertEqual([str(one.target) for one in connectors], ["localhost:80", "localhost:81", "localhost:82"])
        self.assertEqual({one.path for one in connectors}, {"/p"})

    def test_secrets(self) -> None:
        self.assertEqual(self.client(ONE_CONNECTOR + "auth: me:secret\n").connectors[0].credentials, Credentials("me", "secret"))

    def test_access_log(self) -> None:
        """A file is in the directory of the configuration file; stdout is in none."""
        settings = self.server(ONE_LISTENER + "access-log:\n  file: access.log\n  format: json\n").access_log
        assert settings.file is not None
        self.assertTrue(Path(settings.file).is_absolute() or os.sep in settings.file)
        self.assertEqual((Path(settings.file).name, settings.format, settings.query), ("access.log", "json", False))
        self.assertEqual(self.server(ONE_LISTENER + "access-log: {file: '-'}\n").access_log.file, "-")

    def test_files_count_from_the_folder_of_the_file(self) -> None:
        secret = Path(self.write("me:secret"))
        path = self.write(f"{ONE_CONNECTOR}auth-file: {secret.name}\n")
        Path(path).rename(secret.parent / "client.yaml")
        settings = CLIENT_ROLE.load(words(CLIENT, "--config", str(secret.parent / "client.yaml")), {}).settings
        self.assertEqual(settings.connectors[0].credentials, Credentials("me", "secret"))

    def test_secret_in_a_readable_file(self) -> None:
        path = self.write(ONE_CONNECTOR + "auth: me:secret\n")
        self.assertEqual(CLIENT_ROLE.load(words(CLIENT, "--config", path), {}).warnings, ())
        Path(path).chmod(0o644)
        (warning,) = CLIENT_ROLE.load(words(CLIENT, "--config", path), {}).warnings
        self.assertIn("is readable by every user of this machine; chmod 600", warning)
        self.assertNotIn("secret:", warning)

    def test_variable_that_names_the_file(self) -> None:
        settings = SERVER_ROLE.load([], {"RTUNNEL_CONFIG": self.write(ONE_LISTENER)}).settings
        self.assertEqual(settings, self.server(ONE_LISTENER))


class PrecedenceTests(FileTestCase):
    """The command line overrides the environment, and both override the file, also the items of its list."""

    def test_each_step(self) -> None:
        text = TWO_LISTENERS + "drain: 1s\n"
        self.assertEqual(self.server(text).drain, 1)
        self.assertEqual(self.server(text, DRAIN="2s").drain, 2)
        self.assertEqual(self.server(text, "--drain", "3s", DRAIN="2s").drain, 3)

    def test_items(self) -> None:
        settings = self.server(TWO_LISTENERS, HEAD_TIMEOUT="9s")
        self.assertEqual([listener.http.head_timeout for listener in settings.listeners], [9, 9])

    def test_what_the_file_leaves_open(self) -> None:
        text = f"connectors:\n- tunnel: {UUID}\n  target: :80\n"
        self.assertEqual(self.client(text, "--server", "a:1").connectors[0].server, Address("a", 1))

    def test_urls_beside_a_file(self) -> None:
        """The file may have defaults; addresses may be in one of the two."""
        url = f"tunnel://:1?entrypoint=:2&tunnel=a:{UUID}"
        self.assertEqual(self.server("http:\n  idle-timeout: 9s\n", "-L", url).listeners[0].http.idle_timeout, 9)
        for text in (TWO_LISTENERS, ONE_LISTENER):
            (line,) = self.errors(self.server, text, "-L", url)
            self.assertIn("give only one of them", line)


class RefusalTests(FileTestCase):
    def test_server(self) -> None:
        for text, lines in [
            ("- a\n", ['1: must be a map, with lines like "listeners:" or "drain: 10s"']),
            ("drian: 5\n", ["1: drian: unknown key; did you mean drain?"]),
            ("listners:\n- a: b\n", ["1: listners: unknown key; did you mean listeners?"]),
            ("headTimeout: 5\n", ["1: headTimeout: not a key of this map; write it as http: head-timeout: ..."]),
            ("http:\n  head_timeout: 5\n", ["2: http.head_timeout: unknown key; did you mean head-timeout?"]),
            ("http:\n  qqq: 5\n", ["2: http.qqq: unknown key; see docs/configuration.md"]),
            ("weight: 5\n", ["1: weight: a key for the file of a client, not of a server"]),
            ("config: x\n", ["1: config: unknown key; see docs/configuration.md"]),
            ("L: x\n", ["1: L: unknown key; see docs/configuration.md"]),
            ("drain: x\n", ['1: drain "x": not a time; write e.g. 15s, 1m30s, 250ms or a number of seconds']),
            ("drain:\n", ["1: drain: has no value; give one, or remove the key"]),
            ("policies:\n- {global: allow}\n", ["2: policies: has no host; add host: ..."]),
            (
                "policies:\n- {host: a, globl: allow}\n",
                ["2: policies.globl: unknown key; the keys are host, global, require, max-lease, idle, served-by, on-absent"],
            ),
            (
                "policies:\n- {host: a, idle: 1 h}\n",
                ["2: policies.idle: must have one value after the colon, or a list of values without blanks"],
            ),
            (
                "policies:\n- {host: a, idle: }\n",
                ["2: policies.idle: must have one value after the colon, or a list of values without blanks"],
            ),
            (
                "policies:\n- {host: a, idle: long}\n",
                ['2: policies "a idle=long": idle not a time; write e.g. 15s, 1m30s, 250ms or a number of seconds'],
            ),
            ("drain: [5]\n", ["1: drain: takes one value, not a list or map; write it after the colon"]),
            ("http: 5\n", ["1: http: must be a map; write e.g. trusted-proxy: on an indented line below it"]),
            ("listeners: 5\n", ['1: listeners: must be a list: each listener begins with "- " on a line of its own']),
            ("listeners: []\n", ['1: listeners: must be a list: each listener begins with "- " on a line of its own']),
            ("listeners:\n- 5\n", ["2: listeners[1]: must be a map with the settings of one listener"]),
            (
                "listeners:\n- listen: :1\n  drain: 5s\n",
                ["3: listeners[1].drain: is for the whole process; move it to the top of the file"],
            ),
            (
                "entrypoints: :80\n",
                ['1: entrypoints: must be a list; write each value on an indented line of its own, after "- "'],
            ),
            ("entrypoints: [{a: b}]\n", ["1: entrypoints: must be a list of single values"]),
            (
                "entrypoint: [':80']\n",
                ["1: entrypoint: takes one value, not a list or map; write it after the colon, or use the plural of the key"],
            ),
            ("routes:\n  a: []\n", ["2: routes.a: must have one value after the colon"]),
            ("listen: ws://:1/p\npath: /q\n", ["2: path: conflicts with 1: listen; give only one of them"]),
            ("entrypoint: :1\nentrypoints: [':2']\n", ["2: entrypoints: conflicts with 1: entrypoint; give only one of them"]),
        ]:
            with self.subTest(text=text):
                self.assertEqual(self.errors(self.server, text), lines)

    def test_all_at_once(self) -> None:
        text = "listeners:\n- listen: 80\n  path:\n- http:\n    pool: maybe\nfoo: 1\ndrain: -1\n"
        found = self.errors(self.server, text)
        self.assertEqual([line.partition(":")[0] for line in found], ["2", "3", "5", "6", "7"])

    def test_missing_keys_of_a_file(self) -> None:
        self.assertEqual(
            self.errors(self.server, "listeners:\n- listen: :1\n- entrypoint: :2\n"),
            [
                "2: listeners[1].entrypoint: missing; say where visitors connect, e.g. entrypoint: :80",
                "3: listeners[2].route: missing; say which host belongs to which tunnel, e.g. route: nginx.local=UUID",
            ],
        )
        self.assertEqual(
            self.errors(self.server, f"listeners:\n- entrypoint: :2\n  route: a={UUID}\n"),
            ["2: listeners[1].listen: missing; say where clients connect, e.g. listen: :8421"],
        )
        self.assertEqual(
            self.errors(self.client, f"server: a:1\ntunnel: {UUID}\n"),
            [" target: missing; say where requests are forwarded to, e.g. target: :80"],
        )

    def test_bounds(self) -> None:
        text = ONE_CONNECTOR + "weight: 256\n"
        self.assertEqual(self.errors(self.client, text), ['4: weight "256": must be a whole number from 1 to 255'])
        text = ONE_CONNECTOR + "mux:\n  keepalive-interval: 40s\n"
        found = self.errors(self.client, text)
        self.assertEqual(found, [' mux.keepalive-timeout "30s": must be longer than the keepalive interval, 40s'])

    def test_port_taken_twice(self) -> None:
        text = TWO_LISTENERS.replace(":82", ":80")
        (line,) = self.errors(self.server, text)
        self.assertIn('entrypoints ":80": the port is already used by entrypoint ":80"; choose another one', line)
        self.assertTrue(line.startswith("11: "), line)

    def test_secrets_stay_secret(self) -> None:
        for text in (ONE_CONNECTOR + "auth: swordfish\n", ONE_CONNECTOR + "auth: [swordfish]\n", "auth: {swordfish: x}\n"):
            (line,) = self.errors(self.client, text)
            self.assertNotIn("swordfish", line)

    def test_error_names_a_long_path_in_full(self) -> None:
        path = self.write("x: 1\n")
        long = Path(path).parent / ("d" * 120) / "server.yaml"
        long.parent.mkdir()
        Path(path).rename(long)
        error = self.assertRaises(SettingsError, SERVER_ROLE.load, words(SERVER, "--config", str(long)), {})
        self.assertIn("server.yaml:1: x: unknown key", str(error))


class WhichTests(FileTestCase):
    def test_told_by_its_keys(self) -> None:
        for text, role in [
            (TWO_LISTENERS, "server"),
            (ONE_LISTENER, "server"),
            (ONE_CONNECTOR, "client"),
            ("connectors:\n- a: b\n", "client"),
        ]:
            self.assertEqual(which(self.write(text)).role, role)

    def test_not_told(self) -> None:
        line = str(self.assertRaises(SettingsError, which, self.write("drain: 5s\n")))
        self.assertIn("its keys do not tell which command it is for", line)

    def test_empty(self) -> None:
        self.assertIn("empty; see docs", str(self.assertRaises(SettingsError, which, self.write(""))))


class ShapeTests(SynchronousTestCase):
    """The keys follow from the table."""

    def test_every_option_has_its_key(self) -> None:
        for layout in LAYOUTS:
            leaves = dict(layout.top.leaves())
            options = {leaf.option for leaf in leaves.values()}
            expected = {option for option in layout.rows if option.field and option.name not in ("config", "profile")}
            self.assertEqual({option.name for option in options}, {option.name for option in expected})
            for option in expected:
                self.assertEqual(sum(leaf.option is option for leaf in leaves.values()), 1 + option.many, option.name)

    def test_no_two_keys_are_one(self) -> None:
        def count(group: Group) -> int:
            return sum(count(key) if isinstance(key, Group) else 1 for key in group.keys.values())

        for layout in LAYOUTS:
            fields = [option for option in layout.rows if option.field and option.name not in ("config", "profile")]
            self.assertEqual(count(layout.top), sum(1 + option.many for option in fields))

    def test_process_settings_stand_at_the_top_only(self) -> None:
        for layout in LAYOUTS:
            self.assertNotIn("drain", layout.items.keys)
            self.assertIn("drain", layout.top.keys)

    def test_names(self) -> None:
        leaves = dict(SERVER_LAYOUT.top.leaves())
        for name in ("entrypoint", "entrypoints", "http.trusted-proxies", "http.pool", "mux.version", "routes"):
            self.assertIn(name, leaves)
        self.assertIn("targets", dict(CLIENT_LAYOUT.top.leaves()))

    def test_a_new_option_has_a_key_at_once(self) -> None:
        option = attrs.evolve(find(SERVER, "head-timeout"), name="new-thing", field="http.more.new_thing", many=True)
        layout = FileLayout("server", (option,), "listeners", "listener")
        leaves: dict[str, Leaf] = dict(layout.items.leaves())
        self.assertEqual(list(leaves), ["http.more.new-thing", "http.more.new-things"])
