"""gost's URLs: those of the scenario, every key, and every error."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.options import ignored_gost_keys, kinds
from rtunnel.options.table import CLIENT, FORWARD, SERVER, UDP
from rtunnel.options.targets import ROUND
from rtunnel.routing.ingress import IngressRule
from rtunnel.settings import Address, Credentials, SettingsError, TargetList, UdpAddress, UnixSocket
from rtunnel.urls import Reading, read_listener, read_server, read_target, read_visitor

UUID = "10bc451e-59dc-4c70-999e-91a30813ac78"
OTHER = "59dc451e-59dc-4c70-999e-91a30813ac78"

OF_SERVER_URL = tuple(option for option in CLIENT if option not in (*FORWARD, *UDP))


def values(reading: Reading) -> dict[str, Any]:
    return {field: given.value for field, given in reading.layer.items()}


def listener(query: str = "", place: str = "tunnel+ws://:8421") -> dict[str, Any]:
    return values(read_listener("-L", f"{place}?{query}"))


def server(query: str = "", place: str = "tunnel+ws://proxy:8421") -> dict[str, Any]:
    return values(read_server("-F", f"{place}?{query}"))


class ScenarioTests(SynchronousTestCase):
    """The command lines of the scenario, character by character."""

    def test_server(self) -> None:
        reading = read_listener("-L", f"tunnel+ws://:8421?entrypoint=:80&tunnel=nginx.local:{UUID}&path=/proxy")
        self.assertEqual(
            values(reading),
            {
                "listen": Address("", 8421),
                "transport": "ws",
                "path": "/proxy",
                "entrypoints": (Address("", 80),),
                "rules": (IngressRule.parse(f"nginx.local:{UUID}"),),
            },
        )
        self.assertEqual(reading.warnings, ())

    def test_sidecar(self) -> None:
        target = read_target("-L", "rtcp://:0/:80")
        self.assertEqual(values(target), {"bind": Address("", 0), "target": (TargetList.of(Address("localhost", 80)),)})
        reading = read_server("-F", f"tunnel+ws://proxy:8421?tunnel.id={UUID}&tunnel.weight=1&path=/proxy")
        found = values(reading)
        self.assertEqual(str(found.pop("tunnel")), UUID)
        self.assertEqual(found, {"server": Address("proxy", 8421), "transport": "ws", "weight": 1, "path": "/proxy"})
        self.assertEqual(reading.warnings, ())

    def test_laptop(self) -> None:
        url = f"tunnel+ws://192.168.1.1:80?tunnel.id={UUID}&tunnel.weight=1&path=/proxy&host=nginx.local"
        found = values(read_server("-F", url))
        self.assertEqual((found["server"], found["host"]), (Address("192.168.1.1", 80), "nginx.local"))


class FormTests(SynchronousTestCase):
    def test_schemes(self) -> None:
        for scheme, transport in [
            ("tunnel", "tcp"),
            ("tunnel+tcp", "tcp"),
            ("tunnel+tls", "tls"),
            ("tunnel+ws", "ws"),
            ("tunnel+wss", "wss"),
            ("TUNNEL+WS", "ws"),
        ]:
            self.assertEqual(listener(place=f"{scheme}://:1")["transport"], transport)
            self.assertEqual(server(place=f"{scheme}://a:1")["transport"], transport)

    def test_keys_in_any_case(self) -> None:
        for key in ("entrypoint", "entryPoint", "ENTRYPOINT", "handler.entrypoint", "Handler.EntryPoint"):
            self.assertEqual(listener(f"{key}=:80")["entrypoints"], (Address("", 80),))

    def test_prefixes(self) -> None:
        for prefix in ("handler.", "listener.", "service."):
            self.assertEqual(listener(f"{prefix}path=/a")["path"], "/a")
        for prefix in ("connector.", "dialer.", "node.", "hop."):
            self.assertEqual(server(f"{prefix}tunnel.weight=7")["weight"], 7)
        self.assertRaises(SettingsError, server, "handler.path=/a")
        self.assertRaises(SettingsError, listener, "dialer.path=/a")

    def test_every_spelling_of_every_key(self) -> None:
        for rows, read, place in (
            (SERVER, read_listener, "tunnel+ws://:1"),
            (OF_SERVER_URL, read_server, "tunnel+ws://a:1"),
            (FORWARD, read_target, "rtcp://:0/:80"),
            (UDP, read_target, "rudp://:0/:53"),
            (UDP, read_visitor, "udp://:5353/dns.svc"),
        ):
            for option in rows:
                for key in option.keys:
                    for name in key.names:
                        text = EXAMPLES[name]
                        with self.subTest(key=name):
                            layer = read("-L", f"{place}?{name}={text}").layer
                            if key.kind not in (kinds.SMUX, ROUND):
                                self.assertEqual(layer[option.field].key, name)

    def test_escapes(self) -> None:
        self.assertEqual(listener("path=%2Fa%2fb")["path"], "/a/b")
        self.assertEqual(listener(f"tunnel=a:%24{UUID}")["rules"][0].private, True)

    def test_many_rules(self) -> None:
        rules = listener(f"tunnel=a:{UUID},.b.org:${OTHER},&tunnel=c:{UUID}")["rules"]
        self.assertEqual([str(rule) for rule in rules], [f"a={UUID}", f"*.b.org=${OTHER}", f"c={UUID}"])

    def test_several_entrypoints(self) -> None:
        self.assertEqual(
            listener("entrypoint=:80,:81&entrypoint=:82")["entrypoints"], tuple(Address("", port) for port in (80, 81, 82))
        )

    def test_proxy_protocol(self) -> None:
        """A key of gost with a version, which trusts every visitor; here it has the networks that are trusted."""
        networks = listener("entrypoint.ProxyProtocol=10.0.0.0/8,fd00::/8")["proxy_protocol"]
        self.assertEqual(list(map(str, networks)), ["10.0.0.0/8", "fd00::/8"])
        self.assertNotIn("proxy_protocol", listener("entrypoint.ProxyProtocol=0"))

    def test_times(self) -> None:
        for text, seconds in [("10", 10), ("10s", 10), ("1m", 60), ("500ms", 0.5), ("0", 0)]:
            self.assertEqual(listener(f"entrypoint.readTimeout={text}")["http.response_timeout"], seconds)

    def test_pool(self) -> None:
        self.assertEqual(listener("entrypoint.keepalive=true")["http.pool"], True)
        self.assertEqual(listener("entrypoint.keepalive=false")["http.pool"], False)
        self.assertNotIn("http.pool", listener())

    def test_keepalive_disabled_wins_over_the_interval(self) -> None:
        self.assertEqual(server("mux.keepaliveDisabled=true&mux.keepaliveInterval=5s")["mux.keepalive_interval"], 0)
        self.assertEqual(server("mux.keepaliveDisabled=false&mux.keepaliveInterval=5s")["mux.keepalive_interval"], 5)

    def test_targets(self) -> None:
        cases: list[tuple[str, Address, Address | UnixSocket]] = [
            ("rtcp://:0/:80", Address("", 0), Address("localhost", 80)),
            ("rtcp:///:80", Address("", 0), Address("localhost", 80)),
            ("RTCP://nginx.local:80/10.0.0.1:8080", Address("nginx.local", 80), Address("10.0.0.1", 8080)),
            ("rtcp://:0/[::1]:80", Address("", 0), Address("::1", 80)),
            ("rtcp://:0/unix:/run/app.sock", Address("", 0), UnixSocket("/run/app.sock")),
            ("rudp://:0/127.0.0.1:53", Address("", 0), UdpAddress("127.0.0.1", 53)),
            ("rudp://:0/:53", Address("", 0), UdpAddress("localhost", 53)),
            ("runix:///run/app.sock", Address("", 0), UnixSocket("/run/app.sock")),
            ("runix://app/run/app.sock", Address("app", 0), UnixSocket("/run/app.sock")),
        ]
        for url, bind, target in cases:
            found = values(read_target("-L", url))
            self.assertEqual((found["bind"], found["target"]), (bind, (TargetList.of(target),)))

    def test_target_lists(self) -> None:
        for url, shown in [
            ("rtcp://:0/a:80,b:81", "a:80,b:81"),
            ("rtcp://:0/a:80-82", "a:80,a:81,a:82"),
            ("rudp://:0/a:53,b:53-54", "udp://a:53,udp://b:53,udp://b:54"),
            ("runix:///run/a.sock,/run/b.sock", "unix:/run/a.sock,unix:/run/b.sock"),
        ]:
            (found,) = values(read_target("-L", url))["target"]
            self.assertEqual(str(found), shown)

    def test_target_keys(self) -> None:
        found = values(read_target("-L", "rtcp://:0/a:80,b:80?strategy=round&maxFails=2&failTimeout=30s"))
        self.assertEqual((found["forward.max_fails"], found["forward.fail_timeout"]), (2, 30.0))


EXAMPLES = {
    "ttl": "30s",
    "udpAssociations": "9",
    "proxyProtocol": "2",
    "sniffing.timeout": "3s",
    "maxFails": "3",
    "max_fails": "3",
    "strategy": "round",
    "failTimeout": "30s",
    "fail_timeout": "30s",
    **dict.fromkeys(("path", "ws.path"), "/proxy"),
    **dict.fromkeys(("host", "ws.host"), "nginx.local"),
    **dict.fromkeys(("tunnel.id", "tunnelID"), UUID),
    "entrypoint": ":80",
    "tunnel": f"nginx.local:{UUID}",
    "tunnel.weight": "7",
    "join": "all",
    "role": "pod",
    **dict.fromkeys(("certFile", "cert", "tls.certFile"), "/etc/cert.pem"),
    **dict.fromkeys(("keyFile", "key", "tls.keyFile"), "/etc/key.pem"),
    **dict.fromkeys(("caFile", "ca", "tls.caFile"), "/etc/ca.pem"),
    **dict.fromkeys(("serverName", "tls.serverName"), "nginx.local"),
    **dict.fromkeys(("secure", "tls.secure"), "false"),
    "selfSigned": "true",
    "trustedProxy": "10.0.0.0/8",
    "keepForwardedFor": "true",
    "routesFile": "/etc/rtunnel/routes",
    "entrypoint.ProxyProtocol": "10.0.0.0/8",
    "entrypoint.keepalive": "true",
    "entrypoint.id": "59dc451e-59dc-4c70-999e-91a30813ac78",
    "tunnel.direct": "true",
    "maxHeaders": "9",
    "maxRetries": "9",
    "mux.version": "2",
    "mux.type": "smux",
    "mux.keepaliveDisabled": "true",
    "users": "/etc/rtunnel/users",
    "permissions": "/etc/rtunnel/permissions",
    "auth": b64encode(b"me:swordfish").decode(),
    "readTimeout": "9s",
    "readHeaderTimeout": "9s",
    "handshakeTimeout": "9s",
    "headTimeout": "9s",
    "idleTimeout": "9s",
    "entrypoint.readTimeout": "9s",
    "poolIdle": "9s",
    "stallTimeout": "9s",
    "suspectAfter": "4s",
    "deadAfter": "9s",
    "passiveHealth": "true",
    "connectTimeout": "9s",
    "backoffMin": "9s",
    "backoffMax": "9s",
    "mux.keepaliveInterval": "9s",
    "mux.keepaliveTimeout": "9s",
    "maxHead": "9000",
    "maxLine": "9000",
    "retryBuffer": "9000",
    "forwarded": "true",
    "mux.maxStreamBuffer": "9000",
    "mux.maxReceiveBuffer": "9000",
    "mux.maxFrameSize": "9000",
    "linkBuffer": "9MiB",
    "linkStallTimeout": "9s",
    "holdTimeout": "9s",
}


class RefusalTests(SynchronousTestCase):
    """One line that names the key, the value and the hint."""

    def refused(self, read: Any, url: str) -> str:
        error = self.assertRaises(SettingsError, read, "-L" if read is not read_server else "-F", url)
        return str(error)

    def test_lines(self) -> None:
        place = "tunnel+ws://:8421"
        client = "tunnel+ws://proxy:8421"
        for read, url, line in [
            (read_listener, f"{place}?entrypont=:80", 'entrypont: unknown key; did you mean "entrypoint"?'),
            (read_listener, f"{place}?entrypoint.readtimeot=1", '"entrypoint.readTimeout"?'),
            (read_listener, f"{place}?foo=bar", "foo: unknown key; see docs/options.md"),
            (read_listener, f"{place}?tunnel=nginx.local:1234", 'tunnel "nginx.local:1234": has no valid UUID; write it like'),
            (read_listener, f"{place}?entrypoint=80", 'entrypoint "80": no colon; write ":80" for that port'),
            (read_listener, f"{place}?entrypoint=", 'entrypoint "": no port'),
            (read_listener, f"{place}?path=/a&path=/b", 'path "/b": given twice'),
            (read_listener, f"{place}?handler.path=/a&ws.path=/b", 'ws.path "/b": given twice'),
            (read_listener, f"{place}?entrypoint.readTimeout=soon", 'entrypoint.readTimeout "soon": not a time'),
            (read_listener, f"{place}?entrypoint.keepalive=maybe", 'entrypoint.keepalive "maybe": must be true or false'),
            (
                read_listener,
                f"{place}?entrypoint.proxyProtocol=2",
                'entrypoint.proxyProtocol "2": would trust the PROXY header of every visitor; write the networks of your proxies',
            ),
            (read_listener, f"{place}?mux.type=yamux", 'mux.type "yamux": not supported; only smux is'),
            (read_listener, f"{place}?path=%zz", 'path: contains "%" without two hex digits'),
            (read_listener, f"{place}?path=%ff", "path: not UTF-8"),
            (read_listener, "tunnel+ws://proxy", '-L "proxy": no port'),
            (read_listener, "tunnel+ws://", '-L "": no port'),
            (read_listener, "tunnel+ws://:8421/proxy", '-L "/proxy": the path must be in the query; write ?path=/proxy'),
            (read_listener, "tunnel+ws://:8421?a#b", 'contains "#"; write it as %23'),
            (read_listener, ":8421", '-L ":8421": not a URL; write it like tunnel+ws://HOST:PORT?key=value'),
            (read_listener, "tunnel+quic://:8421", '-L scheme "tunnel+quic": not supported; use tunnel+ws://, tunnel+wss://, '),
            (read_server, f"{client}?secure=perhaps", 'secure "perhaps": must be true or false'),
            (read_listener, "rtcp://:0/:80", '-L scheme "rtcp": only for "rtunnel client"'),
            (read_server, f"{client}?tunnel.id=nonsense", 'tunnel.id "nonsense": not a UUID'),
            (read_server, f"{client}?tunnel.weight=x", 'tunnel.weight "x": must be a whole number from 1 to 255'),
            (read_server, f"{client}?tunnel.wieght=1", 'did you mean "tunnel.weight"?'),
            (read_server, "tunnel+ws://a:1,b:1", '-F "a:1,b:1": several addresses'),
            (read_server, "tunnel+ws://proxy:0", '-F "proxy:0": no port to connect to'),
            (read_server, "http://proxy:80", '-F scheme "http": a proxy; the server must follow in another -F'),
            (read_server, "ftp://proxy:80", '-F scheme "ftp": not supported'),
            (read_target, "rtcp://:0", '-L "rtcp://:0": no target'),
            (read_target, "rtcp://:0/80", '-L "80": no colon; write ":80"'),
            (read_target, "rtcp://:0/a:80,b", '-L "a:80,b": no port; write HOST:PORT'),
            (read_target, "rtcp://:0/a:82-80", "port range is empty"),
            (read_target, "rtcp://:0/a:80?strategy=hash", 'strategy "hash": not supported; targets take turns'),
            (read_target, "runix:///" + 120 * "x", "must be an absolute path of at most 107 bytes"),
            (
                read_target,
                "tcp://:0/:80",
                '-L scheme "tcp": not supported; a client accepts rtcp://:0/HOST:PORT, rudp://:0/HOST:PORT and runix:///PATH',
            ),
            (read_target, "rtcp://:0/:80?tunnel.id=x", "tunnel.id: unknown key"),
        ]:
            with self.subTest(url=url):
                self.assertIn(line, self.refused(read, url))

    def test_access_rules_are_never_ignored_silently(self) -> None:
        for name in ignored_gost_keys.ACCESS - {"auth"}:
            line = self.refused(read_listener, f"tunnel+ws://:8421?{name}=swordfish")
            self.assertIn("refers to access rules of gost, which do not exist here", line)
            self.assertNotIn("swordfish", line)
        for url in ("rtcp://me:swordfish@:0/:80", "rtcp://:0/:80?auth=swordfish"):
            self.assertNotIn("swordfish", self.refused(read_target, url))

    def test_secrets_are_not_repeated(self) -> None:
        for read, url in [
            (read_server, "tunnel+ws://me:swordfish@proxy"),
            (read_server, "tunnel+ws://me:sword/fish@proxy:8421"),
            (read_server, "tunnel+ws://me:swordfish%@proxy:8421"),
            (read_server, "tunnel+ws://me%ff:swordfish@proxy:8421"),
            (read_server, "tunnel+ws://:swordfish@proxy:8421"),
            (read_server, f"tunnel+ws://{'x' * 300}:swordfish@proxy:8421"),
            (read_server, "tunnel+ws//me:swordfish@proxy:8421"),
            (read_server, "tunnel+ws://proxy:8421?passwrod=swordfish"),
            (read_server, "tunnel+ws://proxy:8421?auth=swordfish"),
            (read_server, "tunnel+ws://proxy:8421?auth=swordfish%"),
            (read_listener, "tunnel+ws://:8421?secrets=swordfish"),
            (read_listener, "tunnel+ws://me%ff:swordfish@:8421"),
            (read_listener, "tunnel+ws://:swordfish@:8421"),
            (read_listener, "tunnel+ws://:8421?auth=swordfish"),
        ]:
            with self.subTest(url=url):
                line = self.refused(read, url)
                self.assertNotIn("fish", line)


class WarningTests(SynchronousTestCase):
    """gost's keys that do not exist here are ignored, with a warning."""

    def test_all(self) -> None:
        for names, read, url in [
            (ignored_gost_keys.OF_SERVER, read_listener, "tunnel+ws://:8421"),
            (ignored_gost_keys.OF_CLIENT | ignored_gost_keys.ACCESS - {"auth"}, read_server, "tunnel+ws://proxy:8421"),
            (ignored_gost_keys.OF_TARGET, read_target, "rtcp://:0/:80"),
            (ignored_gost_keys.OF_TARGET, read_target, "rudp://:0/:53"),
            (ignored_gost_keys.OF_VISITOR, read_visitor, "udp://:5353/dns.svc"),
        ]:
            plain = read("-L", url)
            for name in names:
                with self.subTest(name=name):
                    reading = read("-L", f"{url}?{name}=7")
                    self.assertEqual(values(reading), values(plain))
                    self.assertEqual(reading.warnings, (f'-L: the key "{name}" of gost does not exist here and is ignored',))

    def test_none_is_ours(self) -> None:
        def ours(rows: Any) -> set[str]:
            return {name.lower() for option in rows for key in option.keys for name in key.names}

        self.assertEqual(ours(SERVER) & {name.lower() for name in ignored_gost_keys.OF_SERVER}, set())
        self.assertEqual(ours(OF_SERVER_URL) & {name.lower() for name in ignored_gost_keys.OF_CLIENT}, set())
        self.assertEqual(ours((*FORWARD, *UDP)) & {name.lower() for name in ignored_gost_keys.OF_TARGET}, set())
        self.assertEqual(ours(UDP) & {name.lower() for name in ignored_gost_keys.OF_VISITOR}, set())


class CredentialsTests(SynchronousTestCase):
    def test_user_of_the_url(self) -> None:
        reading = read_server("-F", "tunnel+ws://me:sword%3Afish@proxy:8421")
        self.assertEqual(values(reading)["credentials"], Credentials("me", "sword:fish"))
        self.assertNotIn("fish", repr(reading))

    def test_base64(self) -> None:
        self.assertEqual(server(f"auth={EXAMPLES['auth']}")["credentials"], Credentials("me", "swordfish"))

    def test_server(self) -> None:
        """The single user of a server, as gost accepts it."""
        self.assertEqual(
            values(read_listener("-L", "tunnel+ws://me:sword%3Afish@:8421"))["credentials"], Credentials("me", "sword:fish")
        )
        self.assertEqual(listener(f"auth={EXAMPLES['auth']}")["credentials"], Credentials("me", "swordfish"))

    def test_command_line_is_warned_of(self) -> None:
        for reading in (
            read_server("-F", "tunnel+ws://me:swordfish@proxy:8421"),
            read_listener("-L", "tunnel+ws://me:swordfish@:8421"),
            read_listener("-L", f"tunnel+ws://:8421?auth={EXAMPLES['auth']}"),
        ):
            (warning,) = reading.warnings
            self.assertIn("process list", warning)
            self.assertIn("--auth-file", warning)
            self.assertNotIn("swordfish", warning)

    def test_environment_is_not(self) -> None:
        self.assertEqual(read_server("RTUNNEL_F", "tunnel+ws://me:swordfish@proxy:8421").warnings, ())


NAMES = sorted(EXAMPLES) + sorted(ignored_gost_keys.OF_SERVER | ignored_gost_keys.OF_CLIENT)
SPRINKLED = st.text("/?#&=:@%,.+$[]aé0\n ", max_size=30)
CLOSE = st.builds(
    "{}://{}{}?{}={}&{}".format,
    st.sampled_from(("tunnel", "tunnel+ws", "rtcp", "tunnel+wss")),
    SPRINKLED | st.just(":80"),
    SPRINKLED | st.just("/:80"),
    st.sampled_from(NAMES),
    st.sampled_from(sorted(EXAMPLES.values())) | SPRINKLED,
    SPRINKLED | st.text(max_size=20),
)


class AnyTextTests(SynchronousTestCase):
    """Any text is a reading or one line."""

    @settings(deadline=None, max_examples=400)
    @given(st.sampled_from((read_listener, read_server, read_target)), st.text() | SPRINKLED | CLOSE)
    def test_reading_or_refusal(self, read: Any, url: str) -> None:
        try:
            read("-L", url)
        except SettingsError as error:
            self.assertTrue(str(error).isprintable())
