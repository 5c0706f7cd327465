"""``rtunnel convert``: the file means the same as what it was converted from."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from unittest import SkipTest

from rtunnel.__main__ import main
from rtunnel.config.layout import CLIENT_LAYOUT, LAYOUTS, SERVER_LAYOUT, VISITOR_LAYOUT, FileLayout
from rtunnel.config.reading import read_file
from rtunnel.config.writing import write
from rtunnel.options.layers import Layer, put
from rtunnel.options.table import default, find
from rtunnel.roles import CLIENT_ROLE, SERVER_ROLE, VISITOR_ROLE, Resolved
from rtunnel.settings import ClientSettings, Credentials, ServerSettings, SettingsError
from tests.commands.harness import CommandTestCase

UUID = "10bc451e-59dc-4c70-999e-91a30813ac78"
OTHER = "5e0a54a2-63dc-4fd4-a30b-c7c3ed7b3c79"
LISTENER = f"tunnel+ws://:8421?entrypoint=:80&tunnel=nginx.local:{UUID},.shop.local:${OTHER}&path=/proxy&mux.version=1"
SECOND = f"tunnel://127.0.0.1:8422?entrypoint=[::1]:81,:82&tunnel=nginx.local:{UUID}&entrypoint.keepalive=false"
SERVER = f"tunnel+wss://me:se:cret@192.168.1.1:443?tunnel.id={UUID}&path=/proxy&host=nginx.local&mux.keepaliveDisabled=true"

REAL_GOST = os.environ.get("RTUNNEL_TEST_GOST")

GOST = f"""\
services:
- name: in
  addr: :8421
  handler:
    type: tunnel
    metadata:
      entryPoint: ":80"
      ingress: ingress-0
      backlog: 5
  listener:
    type: ws
    metadata: {{path: /proxy}}
- name: out
  addr: :0
  handler:
    type: rtcp
  listener:
    type: rtcp
    chain: chain-0
  forwarder:
    nodes:
    - name: one
      addr: 192.168.1.1:80
    - name: two
      addr: :81
    selector: {{strategy: round, maxFails: 2, failTimeout: 7s}}
- name: proxy
  addr: :9
  handler: {{type: socks5}}
  listener: {{type: tcp}}
chains:
- name: chain-0
  hops:
  - name: hop-0
    nodes:
    - name: node-0
      addr: 192.168.1.9:8421
      connector:
        type: tunnel
        auth: {{username: me, password: "a:b@c"}}
        metadata: {{tunnel.id: {UUID}, tunnel.weight: 7}}
      dialer:
        type: ws
        metadata: {{path: /proxy}}
ingresses:
- name: ingress-0
  rules:
  - hostname: nginx.local
    endpoint: {UUID}
  - hostname: "*.shop.local"
    endpoint: ${OTHER}
log: {{level: debug}}
"""


class ConvertTestCase(CommandTestCase):
    def converted(self, *words: str) -> str:
        """The path of the file that was printed."""
        self.out.truncate(0)
        self.out.seek(0)
        self.assertEqual(main(["convert", *words]), 0, self.err.getvalue())
        if "https:" not in str(words):
            self.assertNotIn("cannot be written", self.err.getvalue())
        path = self.write(self.out.getvalue())
        Path(path).chmod(0o600)
        return path

    def server_of(self, path: str) -> ServerSettings:
        return SERVER_ROLE.load([(find(SERVER_LAYOUT.rows, "config"), "-c", path)], {}).settings

    def client_of(self, path: str) -> ClientSettings:
        return CLIENT_ROLE.load([(find(CLIENT_LAYOUT.rows, "config"), "-c", path)], {}).settings

    def typed(self, shape: FileLayout, *words: str) -> list[tuple[object, str, str]]:
        return [(find(shape.rows, flag.lstrip("-")), flag, text) for flag, text in zip(words[::2], words[1::2], strict=True)]


class UrlTests(ConvertTestCase):
    def same_server(self, *words: str) -> str:
        path = self.converted("server", *words)
        asked: Resolved[ServerSettings] = SERVER_ROLE.load(self.typed(SERVER_LAYOUT, *words), {})  # type: ignore[arg-type]
        self.assertEqual(self.server_of(path), asked.settings)
        return Path(path).read_text(encoding="utf-8")

    def same_client(self, *words: str) -> str:
        path = self.converted("client", *words)
        asked: Resolved[ClientSettings] = CLIENT_ROLE.load(self.typed(CLIENT_LAYOUT, *words), {})  # type: ignore[arg-type]
        self.assertEqual(self.client_of(path), asked.settings)
        return Path(path).read_text(encoding="utf-8")

    def test_server(self) -> None:
        self.same_server("-L", LISTENER)
        self.same_server("-L", LISTENER, "-L", SECOND, "--drain", "7s", "--admin", ":1", "--trusted-proxy", "10.0.0.0/8")
        self.same_server(
            "--listen", "wss://[::1]:8421/x", "--cert-file", "/etc/a b.pem", "--entrypoint", ":80", "--route", f"*={UUID}"
        )

    def test_client(self) -> None:
        self.same_client("-L", "rtcp://:0/:80", "-F", SERVER)
        self.same_client("-L", "rtcp://:0/:80", "-F", "http://me:p%40ss@proxy:3128", "-F", "socks5://[::1]:1080", "-F", SERVER)
        self.same_client("-L", "rtcp://:0/:80", "-L", "rtcp://host:5/a:80,b:81", "-F", SERVER, "--backoff-min", "250ms")
        self.same_client("-L", "rudp://:0/:53,:54?ttl=5s", "-L", "rtcp://:0/:80", "-F", SERVER)
        self.same_client("--server", "a:1", "--tunnel", UUID, "--target", ":80", "--target", "unix:/run/a b.sock")

    def test_visitor(self) -> None:
        words = ("-L", "tcp://127.0.0.1:2222/ssh.svc", "-L", "udp://:5353/dns.svc?ttl=5s", "-F", SERVER)
        path = self.converted("visitor", *words)
        found = VISITOR_ROLE.load([(find(VISITOR_LAYOUT.rows, "config"), "-c", path)], {}).settings
        self.assertEqual(found, VISITOR_ROLE.load(self.typed(VISITOR_LAYOUT, *words), {}).settings)  # type: ignore[arg-type]
        self.assertEqual(main(["convert", "client", *words]), 1)
        self.assertIn("has a file of its own: rtunnel convert visitor", self.err.getvalue())

    def test_what_is_alike_is_said_once(self) -> None:
        text = self.same_client("-L", "rtcp://:0/:80", "-L", "rtcp://:0/:81", "-F", SERVER)
        self.assertEqual((text.count(UUID), text.count("server:"), text.count("  - target:")), (1, 1, 2))

    def test_password(self) -> None:
        """It is in the file, where the client needs it, with a warning that does not repeat it."""
        text = self.same_client("-L", "rtcp://:0/:80", "-F", SERVER)
        self.assertIn("auth: me:se:cret", text)
        self.assertIn("warning: the file contains a password", self.err.getvalue())
        self.assertNotIn("cret", self.err.getvalue())

    def test_password_file(self) -> None:
        secret = str(Path(self.write("me:secret")).resolve())
        text = self.same_client("--server", "a:1", "--tunnel", UUID, "--target", ":80", "--auth-file", secret)
        self.assertIn(f"auth-file: {secret}", text)
        self.assertNotIn("secret\n", text.replace(secret, ""))

    def test_two_connectors_that_are_the_same(self) -> None:
        self.same_client("--server", "a:1", "--tunnel", UUID, "--target", ":80", "--target", ":80")

    def test_relative_names_of_files(self) -> None:
        self.converted("server", "-L", LISTENER.replace("ws:", "wss:") + "&certFile=a.pem&keyFile=/b.pem")
        self.assertIn('warning: "a.pem" is relative to the directory of the configuration file now', self.err.getvalue())
        self.assertNotIn("b.pem", self.err.getvalue())

    def test_environment_does_not_count(self) -> None:
        os.environ["RTUNNEL_DRAIN"] = "3s"
        self.assertNotIn("drain", self.same_server("-L", LISTENER))

    def test_what_cannot_be_written_is_said(self) -> None:
        """A file has no place for the CA of a proxy."""
        self.converted("client", "-L", "rtcp://:0/:80", "-F", "https://proxy:3128?caFile=/ca.pem", "-F", SERVER)
        self.assertIn("warning: proxies cannot be written as it was given", self.err.getvalue())

    def test_refusal(self) -> None:
        self.assertEqual(main(["convert", "server", "--listen", ":1"]), 1)
        self.assertIn("--entrypoint: missing", self.err.getvalue())
        self.assertEqual(self.out.getvalue(), "")


class GostTests(ConvertTestCase):
    def test_both_parts(self) -> None:
        self.assertEqual(main(["convert", self.write(GOST)]), 1)
        self.assertIn("has services for server and client; choose with --as server or --as client", self.err.getvalue())

    def test_server(self) -> None:
        found = self.server_of(self.converted("--as", "server", self.write(GOST)))
        url = LISTENER.replace("&mux.version=1", "")
        self.assertEqual(found, SERVER_ROLE.load(self.typed(SERVER_LAYOUT, "-L", url), {}).settings)  # type: ignore[arg-type]
        warnings = self.err.getvalue()
        for words in (
            'in: the key "backlog" of gost does not exist here',
            'the handler "socks5" has no equivalent here',
            "log has no equivalent here",
        ):
            self.assertIn(words, warnings)

    def test_client(self) -> None:
        found = self.client_of(self.converted("--as", "client", self.write(GOST)))
        server = f"tunnel+ws://me:a%3Ab%40c@192.168.1.9:8421?tunnel.id={UUID}&tunnel.weight=7&path=/proxy"
        words = ("-L", "rtcp://:0/192.168.1.1:80,:81?maxFails=2&failTimeout=7s", "-F", server)
        self.assertEqual(found, CLIENT_ROLE.load(self.typed(CLIENT_LAYOUT, *words), {}).settings)  # type: ignore[arg-type]

    def test_rules_in_a_file(self) -> None:
        """Files of rules are used as they are."""
        text = GOST.replace(
            "ingresses:\n- name: ingress-0\n", "ingresses:\n- name: ingress-0\n  file: {path: /etc/rules}\n  reload: 10s\n"
        )
        found = self.server_of(self.converted("--as", "server", self.write(text)))
        self.assertEqual(found.listeners[0].routes_file, "/etc/rules")
        self.assertEqual(len(found.listeners[0].rules), 2)

    def test_visitor(self) -> None:
        service = (
            "- name: ssh\n  addr: 127.0.0.1:2222\n  handler: {type: tcp, chain: chain-0}\n  listener: {type: tcp}\n"
            "  forwarder: {nodes: [{name: a, addr: ssh.svc}]}\n"
        )
        path = self.converted("--as", "visitor", self.write(GOST.replace("services:\n", f"services:\n{service}")))
        found = VISITOR_ROLE.load([(find(VISITOR_LAYOUT.rows, "config"), "-c", path)], {}).settings
        (visitor,) = found.visitors
        self.assertEqual((str(visitor.listen), visitor.to.host, str(visitor.tunnel)), ("127.0.0.1:2222", "ssh.svc", UUID))

    def test_datagrams(self) -> None:
        services = (
            "- name: dns\n  addr: :5353\n  handler: {type: udp, chain: chain-0}\n"
            "  listener: {type: udp, metadata: {ttl: 5s}}\n  forwarder: {nodes: [{name: a, addr: dns.svc}]}\n"
            "- name: resolver\n  addr: :0\n  handler: {type: rudp}\n"
            "  listener: {type: rudp, chain: chain-0, metadata: {ttl: 6s}}\n"
            "  forwarder: {nodes: [{name: a, addr: 192.168.1.1:53}]}\n"
        )
        text = GOST.replace("services:\n", f"services:\n{services}")
        path = self.converted("--as", "visitor", self.write(text))
        (visitor,) = VISITOR_ROLE.load([(find(VISITOR_LAYOUT.rows, "config"), "-c", path)], {}).settings.visitors
        self.assertEqual((str(visitor.listen), visitor.to.host, visitor.udp.idle), ("udp://:5353", "dns.svc", 5))
        connector = self.client_of(self.converted("--as", "client", self.write(text))).connectors[0]
        self.assertEqual((str(connector.target), connector.udp.idle), ("udp://192.168.1.1:53", 6))

    def test_headers_towards_the_targets(self) -> None:
        http = "      addr: 192.168.1.1:80\n      http: {host: pod, requestHeader: {X-A: '1'}}"
        text = GOST.replace("      addr: 192.168.1.1:80", http)
        self.assertIsNone(self.client_of(self.converted("--as", "client", self.write(text))).connectors[0].forward.set_host)
        self.assertIn("http differs between its nodes", self.err.getvalue())
        text = text.replace("    - name: two\n      addr: :81\n", "")
        forward = self.client_of(self.converted("--as", "client", self.write(text))).connectors[0].forward
        self.assertEqual((forward.set_host, forward.set_headers), ("pod", (("X-A", "1"),)))

    def test_entrypoints_with_rules_of_their_own(self) -> None:
        more = """\
      entrypoints:
      - {name: a, entrypoint: ":82"}
      - {name: b, entrypoint: ":83", ingress: ingress-1}
      ingress: ingress-0
"""
        ingress = f"ingresses:\n- name: ingress-1\n  rules: [{{hostname: x, endpoint: {OTHER}}}]\n"
        text = GOST.replace("      ingress: ingress-0\n", more).replace("ingresses:\n", ingress)
        first, second = self.server_of(self.converted("--as", "server", self.write(text))).listeners
        self.assertEqual([str(address) for address in first.entrypoints], [":80", ":82"])
        self.assertEqual((second.listen, [str(address) for address in second.entrypoints]), (None, [":83"]))
        self.assertEqual([str(rule) for rule in second.rules], [f"x={OTHER}"])

    def test_hops_before_the_server_are_proxies(self) -> None:
        hop = (
            "  hops:\n  - name: corporate\n    nodes:\n    - {name: p, addr: 'proxy:3128', connector: {type: http, "
            "auth: {username: me, password: 'x:y'}}, dialer: {type: tcp}}"
        )
        found = self.client_of(self.converted("--as", "client", self.write(GOST.replace("  hops:", hop))))
        (proxy,) = found.connectors[0].proxies
        self.assertEqual((proxy.scheme, str(proxy.address)), ("http", "proxy:3128"))
        self.assertEqual(proxy.credentials, Credentials("me", "x:y"))

    def refused(self, text: str) -> str:
        self.assertEqual(main(["convert", "--as", "server", self.write(text)]), 1)
        self.assertEqual(self.out.getvalue(), "")
        return self.err.getvalue()

    def test_access_rules_are_not_ignored(self) -> None:
        for key in ("admission: a", "bypass: b"):
            text = GOST.replace("  addr: :8421", f"  addr: :8421\n  {key}")
            self.assertIn("refers to access rules of gost, which do not exist here", self.refused(text))

    def test_errors_name_the_service(self) -> None:
        self.assertIn(":2: in: route: missing", self.refused(GOST.replace("ingress: ingress-0", "foo: bar")))
        self.assertIn(":2: in scheme", self.refused(GOST.replace("type: ws", "type: quic")))

    def test_no_gost_file(self) -> None:
        self.assertIn('not a gost file: it has no "services:"', self.refused("listeners: []\n"))
        self.assertIn("has no service of a tunnel server", self.refused("services: []\n"))

    def test_what_gost_itself_makes_of_its_urls(self) -> None:
        binary = REAL_GOST
        if not binary:
            raise SkipTest("RTUNNEL_TEST_GOST names no gost binary")
        words = ("-L", LISTENER.replace("$", ""), "-L", "rtcp://:0/:80,a:81", "-F", SERVER.replace("se:cret", "secret"))
        made = subprocess.run([binary, *words, "-O", "yaml"], capture_output=True, text=True, timeout=20, check=True).stdout
        path = self.write(made)
        listener = SERVER_ROLE.load(self.typed(SERVER_LAYOUT, *words[:2]), {}).settings  # type: ignore[arg-type]
        self.assertEqual(self.server_of(self.converted("--as", "server", path)), listener)
        (found,) = self.client_of(self.converted("--as", "client", path)).connectors
        (wanted,) = CLIENT_ROLE.load(self.typed(CLIENT_LAYOUT, *words[2:]), {}).settings.connectors  # type: ignore[arg-type]
        # gost writes down its own defaults as well
        for name in ("server", "transport", "tunnel", "target", "credentials", "path", "host", "mux"):
            self.assertEqual(getattr(found, name), getattr(wanted, name), name)


class TableTests(ConvertTestCase):
    def test_every_option_is_read_as_it_was_written(self) -> None:
        """Those with a default value; the others are in the tests above or in those of their rooms."""
        for shape in LAYOUTS:
            for option in shape.rows:
                text = default(option)
                if text is None or option.name == "config":
                    continue
                with self.subTest(option=option.name):
                    layer: Layer = {}
                    put(layer, option, "key", text)
                    base, items = (layer, [{}]) if option.process else ({}, [layer])
                    reading = read_file(self.write(write(shape, base, items)), shape)
                    found = reading.base if option.process else reading.items[0].layer
                    self.assertEqual(
                        {field: given.value for field, given in found.items()}, {option.field: layer[option.field].value}
                    )

    def test_quotes(self) -> None:
        for text in (
            "a b",
            ":80",
            "[::1]:80",
            "*",
            "- a",
            "-",
            "null",
            "~",
            "a: b",
            "a #b",
            "é",
            "#a",
            "'",
            '"',
            "a:",
            "%a",
            "@b",
            "0",
        ):
            layer: Layer = {}
            put(layer, find(SERVER_LAYOUT.rows, "path"), "key", text)
            try:
                reading = read_file(self.write(write(SERVER_LAYOUT, {}, [layer])), SERVER_LAYOUT)
            except SettingsError as error:
                self.fail(f"{text!r}: {error}")
            self.assertEqual(reading.items[0].layer["path"].value, text)
