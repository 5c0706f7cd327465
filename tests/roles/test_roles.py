"""Options from the command line, the environment and URLs, merged and validated."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.options.layers import RawOption
from rtunnel.options.table import CLIENT, SERVER, VISITOR, Option, default, find
from rtunnel.roles import CLIENT_ROLE, SERVER_ROLE, VISITOR_ROLE, Resolved, Role
from rtunnel.settings import (
    AccessLogSettings,
    Address,
    ClientSettings,
    ClientTls,
    ConnectorSettings,
    Credentials,
    ForwardSettings,
    HealthSettings,
    HttpSettings,
    LeaseSettings,
    LimitSettings,
    ListenerSettings,
    MuxSettings,
    PeerSettings,
    PodEnvSettings,
    RegistrySettings,
    ServerSettings,
    ServerTls,
    SettingsError,
    UdpAddress,
    UdpSettings,
    VisitorSettings,
)

UUID = "10bc451e-59dc-4c70-999e-91a30813ac78"
OTHER = "59dc451e-59dc-4c70-999e-91a30813ac78"
LISTENER = f"tunnel+ws://:8421?entrypoint=:80&tunnel=nginx.local:{UUID}&path=/proxy"
SECURE_URL = f"tunnel+wss://192.168.1.1:443?tunnel.id={UUID}"
SERVER_URL = f"tunnel+ws://192.168.1.1:80?tunnel.id={UUID}&tunnel.weight=1&path=/proxy&host=nginx.local"


def options(rows: tuple[Option, ...], *words: str) -> list[RawOption]:
    """``--path /a`` as the command line passes it on."""
    found = []
    for flag, text in zip(words[::2], words[1::2], strict=True):
        option = find(rows, flag.lstrip("-"))
        found.append((option, option.flag, text))
    return found


def server(*words: str, **environ: str) -> ServerSettings:
    return SERVER_ROLE.load(options(SERVER, *words), variables(environ)).settings


def client(*words: str, **environ: str) -> ClientSettings:
    return CLIENT_ROLE.load(options(CLIENT, *words), variables(environ)).settings


def visitor(*words: str, **environ: str) -> ClientSettings:
    return VISITOR_ROLE.load(options(VISITOR, *words), variables(environ)).settings


def variables(environ: Mapping[str, str]) -> dict[str, str]:
    return {f"RTUNNEL_{name}": value for name, value in environ.items()}


PLAIN_SERVER = ("--listen", ":8421", "--path", "/proxy", "--entrypoint", ":80", "--route", f"nginx.local={UUID}")
PLAIN_CLIENT = ("--server", "192.168.1.1:80", "--tunnel", UUID, "--target", ":80")


class SameTests(SynchronousTestCase):
    """Plain options, variables and URLs mean the same."""

    def test_server(self) -> None:
        url = server("-L", LISTENER)
        (listener,) = url.listeners
        self.assertEqual((listener.listen, listener.transport, listener.path), (Address("", 8421), "ws", "/proxy"))
        self.assertEqual(url, server(*PLAIN_SERVER))
        self.assertEqual(url, server("--listen", "ws://:8421/proxy", *PLAIN_SERVER[4:]))
        self.assertEqual(url, server(L=LISTENER))
        self.assertEqual(url, server(LISTEN=":8421", PATH="/proxy", ENTRYPOINT=":80", ROUTE=f"nginx.local={UUID}"))

    def test_client(self) -> None:
        url = client("-L", "rtcp://:0/:80", "-F", SERVER_URL)
        (connector,) = url.connectors
        self.assertEqual((str(connector.target), connector.weight), ("localhost:80", 1))
        more = ("--path", "/proxy", "--host-header", "nginx.local", "--weight", "1")
        self.assertEqual(url, client(*PLAIN_CLIENT, *more))
        self.assertEqual(url, client("--server", "ws://192.168.1.1:80/proxy", "--host-header", "nginx.local", *PLAIN_CLIENT[2:]))
        self.assertEqual(url, client(L="rtcp://:0/:80", F=SERVER_URL))
        self.assertEqual(url, client("--target", ":80", F=SERVER_URL))
        self.assertEqual(
            url,
            client(SERVER="192.168.1.1:80", TUNNEL=UUID, TARGET=":80", PATH="/proxy", HOST_HEADER="nginx.local", WEIGHT="1"),
        )

    def test_health(self) -> None:
        words = ("--suspect-after", "1", "--dead-after", "9", "--no-passive-health", "1")
        (listener,) = server(*PLAIN_SERVER, *words).listeners
        self.assertEqual(listener.health, HealthSettings(suspect_after=1.0, dead_after=9.0, passive=False))
        self.assertEqual(server("-L", f"{LISTENER}&suspectAfter=1&deadAfter=9&passiveHealth=false").listeners, (listener,))
        error = self.assertRaises(SettingsError, server, *PLAIN_SERVER, "--dead-after", "1")
        self.assertEqual(str(error), '--dead-after "1": must be longer than the time until it is suspect, 2s')

    def test_tls(self) -> None:
        files = "certFile=/etc/c.pem&keyFile=/etc/k.pem&caFile=/etc/ca.pem"
        words = ("--cert-file", "/etc/c.pem", "--key-file", "/etc/k.pem", "--ca-file", "/etc/ca.pem")
        (listener,) = server("-L", f"{LISTENER.replace('+ws', '+wss')}&{files}").listeners
        self.assertEqual(listener.tls, ServerTls(cert_file="/etc/c.pem", key_file="/etc/k.pem", ca_file="/etc/ca.pem"))
        self.assertEqual(server("--listen", "wss://:8421/proxy", *PLAIN_SERVER[4:], *words).listeners, (listener,))
        url = client("-F", f"{SECURE_URL}&{files}&serverName=nginx.local", "--target", ":80")
        plain = ("--server", "wss://192.168.1.1:443", "--tls-server-name", "nginx.local", *PLAIN_CLIENT[2:], *words)
        self.assertEqual(url, client(*plain))
        self.assertEqual(url.connectors[0].tls.server_name, "nginx.local")

    def test_verified_unless_told_otherwise(self) -> None:
        """Unlike with gost, which needs secure=true."""
        for more, verified in (("", True), ("&secure=true", True), ("&secure=false", False)):
            (connector,) = client("-F", SECURE_URL + more, "--target", ":80").connectors
            self.assertEqual(connector.tls.verify, verified)

    def test_proxies(self) -> None:
        chain = ("-F", "http://proxy:3128", "-F", "socks5://ada:swordfish@[::1]:1081", "-F", SECURE_URL)
        (url,) = client(*chain, "--target", ":80").connectors
        secure = ("--server", "wss://192.168.1.1:443", *PLAIN_CLIENT[2:])
        (plain,) = client(*secure, "--proxy", "http://proxy:3128", "--proxy", "socks5://ada:swordfish@[::1]:1081").connectors
        self.assertEqual(url, plain)
        self.assertEqual([str(proxy) for proxy in url.proxies], ["http proxy proxy:3128", "socks5 proxy [::1]:1081"])
        (around,) = client(*secure, PROXY="http://proxy:3128 socks5://ada:swordfish@[::1]:1081").connectors
        self.assertEqual(url, around)

    def test_usual_proxies(self) -> None:
        """HTTPS_PROXY and the like are used if no proxy is given."""
        secure = options(CLIENT, "--server", "wss://192.168.1.1:443", *PLAIN_CLIENT[2:])
        usual = {"HTTPS_PROXY": "http://usual:3128"}
        for more, hosts in (((), ["usual"]), (("--proxy", "other:1"), ["other"]), (("--proxy", "direct"), [])):
            (connector,) = CLIENT_ROLE.load([*secure, *options(CLIENT, *more)], usual).settings.connectors
            self.assertEqual([proxy.address.host for proxy in connector.proxies], hosts)
        (connector,) = CLIENT_ROLE.load(secure, usual | {"NO_PROXY": "192.168.0.0/16"}).settings.connectors
        self.assertEqual(connector.proxies, ())

    def test_proxy_of_tls(self) -> None:
        (connector,) = client("-F", "https://proxy:1?secure=false", "-F", SECURE_URL, "--target", ":80").connectors
        self.assertEqual((connector.proxies[0].tls.verify, connector.tls.verify), (False, True))

    def test_passwords_of_proxies(self) -> None:
        """There is a warning where they are visible in the process list."""
        secret = "http://ada:swordfish@proxy:3128"
        for words, environ, warnings in [
            (("-F", secret, "-F", SECURE_URL, "--target", ":80"), {}, 1),
            (("--proxy", secret, *PLAIN_CLIENT), {}, 1),
            (PLAIN_CLIENT, {"RTUNNEL_PROXY": secret}, 0),
            (("--target", ":80"), {"RTUNNEL_F": f"{secret} {SECURE_URL}"}, 0),
        ]:
            found = CLIENT_ROLE.load(options(CLIENT, *words), environ).warnings
            self.assertEqual(len(found), warnings, found)
            self.assertNotIn("swordfish", "".join(found))


class ServerTests(SynchronousTestCase):
    def test_several_listeners(self) -> None:
        other = f"tunnel+tcp://:8422?entrypoint=:81&tunnel=b.local:{OTHER}"
        for asked in (server("-L", LISTENER, "-L", other), server(L=f"{LISTENER} {other}")):
            self.assertEqual([str(one.listen) for one in asked.listeners], [":8421", ":8422"])
            self.assertEqual([one.transport for one in asked.listeners], ["ws", "tcp"])

    def test_options_are_the_defaults_of_every_url(self) -> None:
        other = f"tunnel://:8422?entrypoint=:81&tunnel=b.local:{OTHER}&headTimeout=5s"
        asked = server("-L", LISTENER, "-L", other, "--head-timeout", "7s", "--trusted-proxy", "10.0.0.0/8")
        self.assertEqual([one.http.head_timeout for one in asked.listeners], [7, 5])
        self.assertEqual([len(one.http.trusted_proxies) for one in asked.listeners], [1, 1])

    def test_repeated(self) -> None:
        words = ("--entrypoint", ":81", "--route", f".b.org=${OTHER}")
        (listener,) = server(*PLAIN_SERVER, *words).listeners
        self.assertEqual(listener.entrypoints, (Address("", 80), Address("", 81)))
        self.assertEqual([rule.private for rule in listener.rules], [False, True])

    def test_lists_in_the_environment(self) -> None:
        words = {"LISTEN": ":1", "ENTRYPOINT": ":80, :81", "ROUTE": f"a={UUID},b={OTHER} c={UUID}"}
        (listener,) = server(**words).listeners
        self.assertEqual(len(listener.entrypoints), 2)
        self.assertEqual([rule.pattern for rule in listener.rules], ["a", "b", "c"])

    def test_process(self) -> None:
        asked = server("-L", LISTENER, "--admin", "127.0.0.1:8480", "--drain", "0")
        self.assertEqual((asked.admin, asked.drain), (Address("127.0.0.1", 8480), 0))

    def test_switch(self) -> None:
        self.assertFalse(server(*PLAIN_SERVER, "--no-pool", "true").listeners[0].http.pool)
        self.assertFalse(server(*PLAIN_SERVER, NO_POOL="1").listeners[0].http.pool)
        self.assertTrue(server(*PLAIN_SERVER, NO_POOL="false").listeners[0].http.pool)


class ClientTests(SynchronousTestCase):
    def test_intercepts_in_the_environment(self) -> None:
        """One on each line: split at a blank, a filter would become two that match more."""
        connector = client(*PLAIN_CLIENT, INTERCEPT="header:X=a; path^=/b \n\n method=GET\n").connectors[0]
        self.assertEqual(list(map(str, connector.intercept)), ["header:x=a; path^=/b", "method=GET"])

    def test_session(self) -> None:
        """Two filters more."""
        connector = client(*PLAIN_CLIENT, "--intercept", "path=/", "--session", "alice-1").connectors[0]
        self.assertEqual(
            list(map(str, connector.filters)), ["path=/", "cookie:rtunnel-session=alice-1", "baggage:rtunnel-session=alice-1"]
        )
        for words in (("--session", "a b"), ("--session", "a" * 65)):
            self.assertIn("not the name of a session", str(self.assertRaises(SettingsError, client, *PLAIN_CLIENT, *words)))
        many = [word for number in range(11) for word in ("--intercept", f"path=/{number}")]
        error = self.assertRaises(SettingsError, client, *PLAIN_CLIENT, *many, "--session", "a")
        self.assertIn("more than 12 filters", str(error))

    def test_datagrams_cannot_be_intercepted(self) -> None:
        words = ("--server", "ws://a/b", "--tunnel", UUID, "--target", "udp://:53", "--intercept", "path=/")
        self.assertIn("no fields to intercept by", str(self.assertRaises(SettingsError, client, *words)))

    def test_several_targets_are_several_connectors(self) -> None:
        for asked in (
            client("-L", "rtcp://:0/:80", "-L", "rtcp://b:0/:81", "-F", SERVER_URL),
            client("--target", ":80", "--target", ":81", "-F", SERVER_URL),
            client(TARGET=":80 :81", F=SERVER_URL),
        ):
            self.assertEqual([str(one.target) for one in asked.connectors], ["localhost:80", "localhost:81"])

    def test_a_list_is_one_connector(self) -> None:
        for asked in (
            client("-L", "rtcp://:0/:80,unix:/run/a.sock", "-F", SERVER_URL),
            client("--target", ":80,unix:/run/a.sock", "-F", SERVER_URL),
            client(TARGET=":80,unix:/run/a.sock", F=SERVER_URL),
        ):
            self.assertEqual([str(one.target) for one in asked.connectors], ["localhost:80,unix:/run/a.sock"])

    def test_users_and_permissions(self) -> None:
        """Their files are found after a change of the working directory."""
        (listener,) = server(*PLAIN_SERVER, "--users", "u", PERMISSIONS="/o", AUTH="me:swordfish").listeners
        self.assertEqual((listener.users, listener.permissions), (os.path.abspath("u"), "/o"))
        self.assertEqual(listener.credentials, Credentials("me", "swordfish"))

    def test_credentials(self) -> None:
        path: str = self.mktemp()
        with open(path, "w") as file:
            file.write("me:swordfish\n")
        for asked in (
            client(*PLAIN_CLIENT, "--auth-file", path),
            client(*PLAIN_CLIENT, AUTH_FILE=path),
            client(*PLAIN_CLIENT, AUTH="me:swordfish"),
            client(*PLAIN_CLIENT, "--auth-file", path, AUTH="you:wrong"),
        ):
            credentials = asked.connectors[0].credentials
            assert credentials is not None
            self.assertEqual((credentials.user, credentials.password), ("me", "swordfish"))


class PrecedenceTests(SynchronousTestCase):
    def test_command_line_over_environment(self) -> None:
        self.assertEqual(client(*PLAIN_CLIENT, "--weight", "7", WEIGHT="9").connectors[0].weight, 7)

    def test_environment_over_default(self) -> None:
        self.assertEqual(client(*PLAIN_CLIENT, WEIGHT="9").connectors[0].weight, 9)

    def test_empty_variable_is_none(self) -> None:
        self.assertEqual(client(*PLAIN_CLIENT, WEIGHT="", HOST_HEADER=" ").connectors[0].weight, 1)

    def test_url_over_option(self) -> None:
        self.assertEqual(client("-F", SERVER_URL, "--target", ":80", "--weight", "7").connectors[0].weight, 1)

    def test_last_value_on_the_command_line(self) -> None:
        self.assertEqual(client(*PLAIN_CLIENT, "--weight", "7", "--weight", "9").connectors[0].weight, 9)

    def test_command_line_overrides_the_other_form_in_the_environment(self) -> None:
        self.assertEqual(server(*PLAIN_SERVER, L=LISTENER.replace("8421", "1")), server(*PLAIN_SERVER))
        self.assertEqual(server("-L", LISTENER, LISTEN="tcp://:1"), server("-L", LISTENER))
        self.assertEqual(client(*PLAIN_CLIENT, F=SERVER_URL, L="rtcp://:0/:1"), client(*PLAIN_CLIENT))

    def test_an_address_replaces_an_address_as_a_whole(self) -> None:
        self.assertEqual(client(*PLAIN_CLIENT, SERVER="tcp://a:1").connectors[0].transport, "ws")
        self.assertEqual(client(*PLAIN_CLIENT, SERVER="ws://a:1/b").connectors[0].path, "/ws")

    def test_path_of_the_environment_stays(self) -> None:
        self.assertEqual(client(*PLAIN_CLIENT, PATH="/p").connectors[0].path, "/p")


class RefusalTests(SynchronousTestCase):
    def refused(self, ask: Any, *words: str, **environ: str) -> str:
        return str(self.assertRaises(SettingsError, ask, *words, **environ))

    def test_server(self) -> None:
        for words, environ, line in [
            ((), {}, "--listen: missing; say where clients connect, e.g. --listen :8421"),
            (("--listen", ":1"), {}, "--entrypoint: missing; say where visitors connect"),
            (("-L", "tunnel://:1?entrypoint=:2"), {}, "--route: missing; say which host belongs to which tunnel"),
            ((*PLAIN_SERVER, "--head-timeout", "0"), {}, '--head-timeout "0": must be a time between 0.1s'),
            (PLAIN_SERVER, {"HEAD_TIMEOUT": "x"}, 'RTUNNEL_HEAD_TIMEOUT "x": not a time'),
            ((*PLAIN_SERVER, "--max-head", "1"), {}, '--max-head "1": must be a whole number from 1024'),
            ((*PLAIN_SERVER, "-L", LISTENER), {}, "--listen: conflicts with -L; give only one of them"),
            (PLAIN_SERVER[2:], {"LISTEN": ":1", "L": LISTENER}, "RTUNNEL_LISTEN: conflicts with RTUNNEL_L"),
            (("--path", "/b", "--listen", "ws://:1/a"), {}, "--listen: conflicts with --path; give only one of them"),
            (("-L", LISTENER, "-L", LISTENER), {}, 'listen ":8421": the port is already used by listen ":8421"'),
            ((*PLAIN_SERVER, "--admin", ":80"), {}, '--admin ":80": the port is already used by entrypoint ":80"'),
            (
                (*PLAIN_SERVER, "--route", f"nginx.local={OTHER}"),
                {},
                '--route "nginx.local=59dc451e...": this host already belongs to another tunnel',
            ),
            (("-L", f"{LISTENER}&mux.keepaliveInterval=60"), {}, '--keepalive-timeout "30s": must be longer than the keepalive'),
            (("-L", f"{LISTENER}&path=proxy"), {}, 'path "proxy": given twice'),
            (("-L", LISTENER.replace("/proxy", "proxy")), {}, 'path "proxy": must be a path that begins with "/"'),
            (("--listen", "wss://:1", *PLAIN_SERVER[4:]), {}, "--cert-file: missing; wss needs a certificate: --cert-file FILE"),
            (("-L", LISTENER.replace("+ws", "+tls")), {}, "--cert-file: missing; tls needs a certificate"),
            ((*PLAIN_SERVER, "--cert-file", "a"), {}, '--cert-file "a": needs TLS, which ws:// does not have; write wss://'),
            (("-L", f"{LISTENER}&keyFile=a"), {}, "keyFile"),
            ((*PLAIN_SERVER, "--cert-file", "a", "--self-signed", "true"), {}, "--self-signed"),
            (
                (*PLAIN_SERVER, "--permissions", "/o"),
                {},
                '--permissions "/o": needs users; add --users FILE',
            ),
            (PLAIN_SERVER, {"AUTH": "swordfish"}, "RTUNNEL_AUTH: must be user:password"),
        ]:
            with self.subTest(words=words, environ=environ):
                self.assertIn(line, self.refused(server, *words, **environ))

    def test_client(self) -> None:
        for words, environ, line in [
            ((), {}, "--server: missing"),
            (PLAIN_CLIENT[:2], {}, "--tunnel: missing; say which tunnel to join"),
            (PLAIN_CLIENT[:4], {}, "--target: missing; say where requests are forwarded"),
            ((*PLAIN_CLIENT, "--weight", "0"), {}, '--weight "0": must be a whole number from 1 to 255'),
            ((*PLAIN_CLIENT, "--weight", "256"), {}, '--weight "256": must be a whole number from 1 to 255'),
            ((*PLAIN_CLIENT, "--weight", "x"), {}, '--weight "x": must be a whole number from 1 to 255'),
            (("-F", SERVER_URL.replace("weight=1", "weight=511"), "--target", ":1"), {}, 'tunnel.weight "511": must be'),
            (("-F", SERVER_URL, "-F", SERVER_URL), {}, '-F scheme "tunnel+ws": a server must be the last -F'),
            (("-F", "http://proxy:3128", "--target", ":1"), {}, '-F scheme "http": a proxy; the server must follow in another -F'),
            (("-F", "ftp://proxy:3128", "-F", SERVER_URL), {}, '-F "ftp://proxy:3128": unsupported proxy'),
            (("-F", "http://a:1", "-F", SERVER_URL, "--proxy", "b:1"), {}, "--proxy: conflicts with -F; give only one of them"),
            ((*PLAIN_CLIENT, "--proxy", "ftp://ada:swordfish@proxy:1"), {}, "--proxy: unsupported proxy"),
            ((*PLAIN_CLIENT, "-F", SERVER_URL), {}, "--server: conflicts with -F; give only one of them"),
            ((*PLAIN_CLIENT, "-L", "rtcp://:0/:80"), {}, "--target: conflicts with -L; give only one of them"),
            ((*PLAIN_CLIENT, "--no-verify", "true"), {}, '--no-verify "true": needs TLS, which ws:// does not have; write wss://'),
            (("-F", f"{SERVER_URL}&secure=true&caFile=a", "--target", ":1"), {}, 'caFile "a": needs TLS'),
            (
                ("-F", f"{SECURE_URL}&secure=false&caFile=a", "--target", ":1"),
                {},
                'caFile "a": is for verification, which is switched off',
            ),
            ((*PLAIN_CLIENT, "--backoff-max", "0.1"), {}, '--backoff-max "0.1": must be at least the minimum, 0.5s'),
            ((*PLAIN_CLIENT, "--backoff-min", "60"), {}, '--backoff-max "30s": must be at least the minimum, 60s'),
            ((*PLAIN_CLIENT, "--auth-file", "/nowhere"), {}, '--auth-file "/nowhere": cannot be read: No such file'),
            (PLAIN_CLIENT, {"AUTH": "me:a", "AUTH_FILE": __file__}, "RTUNNEL_AUTH_FILE"),
            (("--tunnel", UUID[:-1]), {}, "--tunnel"),
        ]:
            with self.subTest(words=words, environ=environ):
                self.assertIn(line, self.refused(client, *words, **environ))

    def test_secrets_are_not_repeated(self) -> None:
        for environ in ({"AUTH": "swordfish"}, {"AUTH": f"swordfish:{'x' * 300}"}, {"F": "tunnel://me:swordfish@:x"}):
            self.assertNotIn("swordfish", self.refused(client, *PLAIN_CLIENT[4:], **environ))


class WarningTests(SynchronousTestCase):
    def test_of_urls(self) -> None:
        asked: Resolved[Any] = SERVER_ROLE.load(options(SERVER, "-L", f"{LISTENER}&backlog=7"), {})
        self.assertEqual(len(asked.warnings), 1)
        asked = CLIENT_ROLE.load(options(CLIENT, "-L", "rtcp://:0/:80?sniffing=true", "-F", f"{SERVER_URL}&ttl=1"), {})
        self.assertEqual(len(asked.warnings), 2)

    def test_of_misspelt_variables(self) -> None:
        environ = {"RTUNNEL_ENTRYPIONT": ":80", "PATH": "/bin", "RTUNNEL_TEST_GOST": "x"}
        (warning,) = SERVER_ROLE.load(options(SERVER, *PLAIN_SERVER), environ).warnings
        self.assertIn("RTUNNEL_ENTRYPIONT", warning)
        self.assertIn("RTUNNEL_ENTRYPOINT", warning)

    def test_not_of_what_kubernetes_sets_for_a_service(self) -> None:
        for name in ("RTUNNEL", "RTUNNEL_SERVER", "RTUNNEL_ADMIN"):
            environ = {f"{name}_{rest}": "tcp://10.0.0.1:80" for rest in KUBERNETES}
            self.assertEqual(SERVER_ROLE.load(options(SERVER, *PLAIN_SERVER), environ).warnings, ())
            self.assertEqual(CLIENT_ROLE.load(options(CLIENT, *PLAIN_CLIENT), environ).warnings, ())


KUBERNETES = (
    "SERVICE_HOST",
    "SERVICE_PORT",
    "SERVICE_PORT_TUNNEL",
    "PORT",
    "PORT_80_TCP",
    "PORT_80_TCP_PROTO",
    "PORT_80_TCP_PORT",
    "PORT_80_TCP_ADDR",
)
"""What a Service adds to the environment of every container of its namespace, after its own name."""


class VisitorTests(SynchronousTestCase):
    """Local ports that lead to private tunnels."""

    URL = f"tunnel+ws://server:8443?tunnel.id={UUID}"
    PLAIN = ("--server", "server:8443", "--tunnel", UUID)

    def refused(self, *words: str) -> str:
        return str(self.assertRaises(SettingsError, visitor, *words))

    def test_same(self) -> None:
        url = visitor("-L", "tcp://:2222/ssh.svc", "-F", self.URL)
        (one,) = url.visitors
        self.assertEqual((one.listen, one.to, one.server), (Address("", 2222), Address("ssh.svc", 0), Address("server", 8443)))
        self.assertEqual(url, visitor(*self.PLAIN, "--listen", ":2222", "--to", "ssh.svc"))
        self.assertEqual(url, visitor(SERVER="server:8443", TUNNEL=UUID, LISTEN=":2222", TO="ssh.svc"))
        self.assertEqual(url, client("-L", "tcp://:2222/ssh.svc", "-F", self.URL))

    def test_same_for_datagrams(self) -> None:
        url = visitor("-L", "udp://:5353/dns.svc?ttl=5s", "-F", self.URL)
        (one,) = url.visitors
        self.assertEqual((one.listen, one.datagrams, one.udp.idle), (UdpAddress("", 5353), True, 5))
        self.assertEqual(url, visitor(*self.PLAIN, "--listen", "udp://:5353", "--to", "dns.svc", "--udp-idle", "5s"))
        self.assertEqual(url, client("-L", "udp://:5353/dns.svc?ttl=5s", "-F", self.URL))

    def test_target_of_datagrams(self) -> None:
        url = client("-L", "rudp://:0/:53?ttl=5s", "-F", self.URL)
        (one,) = url.connectors
        self.assertEqual((one.target.udp, one.udp), (True, UdpSettings(idle=5)))
        self.assertEqual(url, client(*self.PLAIN, "--target", "udp://:53", "--udp-idle", "5"))

    def test_with_port(self) -> None:
        self.assertEqual(visitor("-L", "tcp://:2222/ssh.svc:22", "-F", self.URL).visitors[0].to, Address("ssh.svc", 22))

    def test_several(self) -> None:
        plain = visitor(*self.PLAIN, "--listen", ":2222", "--to", "ssh.svc", "--listen", "127.0.0.1:5432", "--to", "db.svc:5432")
        self.assertEqual(plain, visitor("-L", "tcp://:2222/ssh.svc", "-L", "tcp://127.0.0.1:5432/db.svc:5432", "-F", self.URL))
        self.assertEqual([one.to.host for one in plain.visitors], ["ssh.svc", "db.svc"])

    def test_beside_targets(self) -> None:
        both = client("-L", "tcp://:2222/ssh.svc", "-L", "rtcp://:0/:80", "-F", self.URL)
        self.assertEqual((len(both.visitors), len(both.connectors)), (1, 1))

    def test_missing(self) -> None:
        for words, line in [
            ((), "--server: missing; say where the server is"),
            (self.PLAIN[:2], "--tunnel: missing; say which tunnel to visit"),
            (self.PLAIN, "--listen: missing; say which local port to open"),
            ((*self.PLAIN, "--listen", ":1"), "--to: missing; say what to visit"),
            ((*self.PLAIN, "--listen", ":1", "--to", "a", "--to", "b"), "--to: given 2 times, but --listen 1 times"),
        ]:
            with self.subTest(words=words):
                self.assertIn(line, self.refused(*words))

    def test_bad(self) -> None:
        for words, line in [
            (("--to", ":22"), '--to ":22": no host; write one of the server\'s rules'),
            (("--to", "a:b"), '--to "a:...": invalid port'),
            (("-L", "tcp://:2222"), '-L "tcp://:2222": no destination; write tcp://:2222/HOST'),
            (("-L", "tcp://:2222/a,b"), "several destinations; write one -L for each"),
            (("-L", "tcp://2222/a"), '-L "2222": no colon'),
            (
                ("-L", "rtcp://:0/:80"),
                '-L scheme "rtcp": only for "rtunnel client"; a visitor accepts tcp://:2222/HOST and udp://:5353/HOST',
            ),
            (("-L", "sni://:0/:80"), '-L scheme "sni": not supported; a visitor accepts tcp://:2222/HOST and udp://:5353/HOST'),
            (("-L", "tcp://me:swordfish@:2222/a"), "-L: contains a user and password, which belong to the server"),
            (("-L", "tcp://:2222/a?ttl=5s"), "ttl: unknown key"),
            (("-L", "udp://:5353/a?ttl=x"), 'ttl "x": not a time'),
            (("-L", "udp://:5353/a?ttl=0"), 'ttl "0": must be a time between 0.1s'),
            (("-L", "udp://:5353/a?udpAssociations=0"), 'udpAssociations "0": must be a whole number from 1 to 65536'),
            (("-L", "tcp://:2222/a?auth=x"), "auth: refers to access rules"),
        ]:
            with self.subTest(words=words):
                found = self.refused(*words, "-F", self.URL)
                self.assertIn(line, found)
                self.assertNotIn("swordfish", found)

    def test_port_twice(self) -> None:
        words = ("-L", "tcp://:2222/a", "-L", "tcp://127.0.0.1:2222/b", "-F", self.URL)
        self.assertIn("the port is already used by listen", self.refused(*words))
        words = ("-L", "udp://:2222/a", "-L", "udp://127.0.0.1:2222/b", "-F", self.URL)
        self.assertIn('the port is already used by listen "udp://:2222"', self.refused(*words))
        self.assertEqual(len(visitor("-L", "tcp://:2222/a", "-L", "udp://:2222/a", "-F", self.URL).visitors), 2)

    def test_port_of_admin(self) -> None:
        words = ("-L", "tcp://:2222/a", "-F", self.URL, "--admin", "127.0.0.1:2222")
        self.assertIn("the port is already used by admin", self.refused(*words))

    def test_key_that_is_left_out(self) -> None:
        asked = VISITOR_ROLE.load(options(VISITOR, "-L", "tcp://:2222/a?sniffing=true", "-F", self.URL), {})
        self.assertEqual(len(asked.warnings), 1)


class PrivateServerTests(SynchronousTestCase):
    """Servers without public rules."""

    def test_private_rules_need_no_entrypoint(self) -> None:
        (listener,) = server("--listen", ":1", "--route", f"a=${UUID}").listeners
        self.assertEqual(listener.entrypoints, ())

    def test_public_rules_need_one(self) -> None:
        words = ("--listen", ":1", "--route", f"a={UUID}")
        self.assertIn("--entrypoint: missing", str(self.assertRaises(SettingsError, server, *words)))
        self.assertEqual(server(*words, "--entrypoint-id", OTHER).listeners[0].entrypoints, ())

    def test_direct_needs_no_rule(self) -> None:
        (listener,) = server("-L", "tunnel+ws://:1?tunnel.direct=true").listeners
        self.assertEqual((listener.direct, listener.rules), (True, ()))
        self.assertEqual(server("--listen", ":1", "--direct", "true").listeners, (listener,))

    def test_id_of_a_tunnel(self) -> None:
        words = ("--listen", ":1", "--route", f"a={UUID}", "--entrypoint-id", UUID)
        error = str(self.assertRaises(SettingsError, server, *words))
        self.assertIn('--entrypoint-id "10bc451e...": also the ID of a tunnel', error)


class TableTests(SynchronousTestCase):
    def test_every_setting_has_an_option(self) -> None:
        def fields(model: Any, prefix: str = "") -> set[str]:
            return {prefix + field.name for field in attrs.fields(model)}

        nested = {
            "env",
            "mux",
            "http",
            "tls",
            "udp",
            "forward",
            "health",
            "leases",
            "listeners",
            "connectors",
            "visitors",
            "access_log",
            "limits",
            "registry",
            "peer",
        }
        unused = {name for name in fields(MuxSettings, "mux.") if "keepalive" not in name}
        unused |= {"max_streams", "watch", "unwatched"}
        mux = fields(MuxSettings, "mux.")
        listener = fields(ListenerSettings) | mux | fields(HttpSettings, "http.") | fields(ServerTls, "tls.")
        listener |= fields(HealthSettings, "health.") | fields(LeaseSettings, "leases.")
        server = listener | fields(ServerSettings) | fields(AccessLogSettings, "access_log.") | fields(LimitSettings, "limits.")
        server |= fields(RegistrySettings, "registry.") | fields(PeerSettings, "peer.")
        connector = fields(ConnectorSettings) | mux | fields(ClientTls, "tls.") | fields(ForwardSettings, "forward.")
        connector |= fields(PodEnvSettings, "env.")
        udp = fields(UdpSettings, "udp.")
        for rows, wanted in [
            (SERVER, server),
            (CLIENT, connector | udp | fields(ClientSettings) - nested),
            (VISITOR, (fields(VisitorSettings) | mux | udp | fields(ClientTls, "tls.") | fields(ClientSettings)) - unused),
        ]:
            offered = {option.field for option in rows} | {"transport"}
            self.assertEqual(offered - {"", "config", "profile"}, wanted - nested)

    def test_names_are_unique(self) -> None:
        for rows in (SERVER, CLIENT, VISITOR):
            self.assertEqual(len({option.name for option in rows}), len(rows))

    def test_defaults_can_be_typed(self) -> None:
        for ask, words, rows in ((server, PLAIN_SERVER, SERVER), (client, PLAIN_CLIENT, CLIENT)):
            for option in rows:
                value = default(option)
                if value is not None and option.name != "path":
                    with self.subTest(option=option.name):
                        self.assertEqual(ask(*words, option.flag, value), ask(*words))

    def test_defaults(self) -> None:
        for rows, name, value in [
            (SERVER, "head-timeout", "15s"),
            (SERVER, "idle-timeout", "75s"),
            (SERVER, "max-head", "64KiB"),
            (SERVER, "drain", "10s"),
            (CLIENT, "backoff-min", "500ms"),
            (CLIENT, "weight", "1"),
            (CLIENT, "path", "/ws"),
            (CLIENT, "bind", None),
            (SERVER, "trusted-proxy", None),
            (SERVER, "L", None),
        ]:
            self.assertEqual(default(find(rows, name)), value)


class AnyOptionsTests(SynchronousTestCase):
    """Any options result in settings or in one line."""

    TEXTS = st.text(max_size=12) | st.sampled_from((":80", "a:80", "ws://a:1/b", UUID, f"a={UUID}", "7", "10s", "true"))

    @settings(deadline=None, max_examples=200)
    @given(st.data())
    def test_settings_or_error(self, data: st.DataObject) -> None:
        roles: list[tuple[Role[Any], tuple[str, ...]]] = [(SERVER_ROLE, PLAIN_SERVER), (CLIENT_ROLE, PLAIN_CLIENT)]
        role, valid = data.draw(st.sampled_from(roles))
        texts = st.tuples(st.sampled_from([option for option in role.rows if option.name != "auth-file"]), self.TEXTS)
        command_line = options(role.rows, *valid) if data.draw(st.booleans()) else []
        command_line += [(option, option.flag, text) for option, text in data.draw(st.lists(texts, max_size=3))]
        environ = {option.variable: text for option, text in data.draw(st.lists(texts, max_size=2))}
        try:
            role.load(command_line, environ)
        except SettingsError as error:
            self.assertTrue(str(error).isprintable())
