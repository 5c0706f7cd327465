"""The settings: bounds, conflicts, errors on one line."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.routing.ingress import IngressRule
from rtunnel.settings import (
    Address,
    ClientSettings,
    ClientTls,
    ConnectorSettings,
    Credentials,
    ForwardSettings,
    HttpSettings,
    ListenerSettings,
    MuxSettings,
    ServerSettings,
    ServerTls,
    SettingsError,
    UdpAddress,
    UdpSettings,
)

TUNNEL = UUID("10bc451e-59dc-4c70-999e-91a30813ac78")
OTHER = UUID("59dc451e-59dc-4c70-999e-91a30813ac78")


def connector(**more: Any) -> ConnectorSettings:
    values: dict[str, Any] = {"server": Address("proxy", 8421), "tunnel": TUNNEL, "target": Address("localhost", 80)}
    return ConnectorSettings(**(values | more))


def listener(listen: Address, *entrypoints: Address, **more: Any) -> ListenerSettings:
    return ListenerSettings(listen=listen, entrypoints=entrypoints, **more)


class BoundsTests(SynchronousTestCase):
    def test_within(self) -> None:
        cases: list[tuple[Any, str, Any]] = [
            (connector, "weight", 1),
            (connector, "weight", 255),
            (connector, "host", "nginx.local:8080"),
            (connector, "path", "/"),
            (connector, "path", "/a/b%20c"),
            (MuxSettings, "keepalive_interval", 0),
            (MuxSettings, "frame_size", 65535),
            (HttpSettings, "response_timeout", 0.0),
            (HttpSettings, "retry_buffer_bytes", 0),
        ]
        for make, name, value in cases:
            with self.subTest(name=name, value=value):
                self.assertEqual(getattr(make(**{name: value}), name), value)

    def test_out_of_bounds(self) -> None:
        cases: list[tuple[Any, str, Any]] = [
            (connector, "weight", 0),
            (UdpSettings, "idle", 0),
            (UdpSettings, "associations", 0),
            (connector, "weight", 256),
            (connector, "weight", 511),
            (connector, "weight", True),
            (connector, "weight", "7"),
            (connector, "tunnel", UUID(int=0)),
            (connector, "transport", "http"),
            (ClientTls, "server_name", ""),
            (ClientTls, "server_name", "a/b"),
            (ClientTls, "key_file", "key.pem"),
            (ServerTls, "key_file", "key.pem"),
            (ServerTls, "cert_file", ""),
            (connector, "path", "proxy"),
            (connector, "path", "/a b"),
            (connector, "path", "/a?b"),
            (connector, "path", "/\r\nX: y"),
            (connector, "host", ""),
            (connector, "host", "a\r\nX: y"),
            (connector, "host", "a/b"),
            (connector, "server", Address("proxy", 0)),
            (connector, "target", Address("localhost", 0)),
            (connector, "target", UdpAddress("localhost", 0)),
            (ForwardSettings, "proxy_protocol", 3),
            (ForwardSettings, "max_fails", 0),
            (ForwardSettings, "fail_timeout", 0.01),
            (ForwardSettings, "sniff_timeout", 0),
            (ForwardSettings, "set_host", "a b"),
            (ForwardSettings, "set_headers", (("Host", "a"),)),
            (ForwardSettings, "set_headers", (("Content-length", "1"),)),
            (ForwardSettings, "set_headers", (("A B", "1"),)),
            (ForwardSettings, "set_headers", (("A", "b\r\nC: d"),)),
            (ForwardSettings, "set_headers", (("A", " b"),)),
            (ForwardSettings, "remove_headers", ("Transfer-Encoding",)),
            (ForwardSettings, "remove_headers", ("",)),
            (connector, "connect_timeout", 0),
            (connector, "backoff_max", 0.1),
            (connector, "handshake_timeout", float("nan")),
            (connector, "handshake_timeout", float("inf")),
            (MuxSettings, "version", 3),
            (MuxSettings, "frame_size", 65536),
            (MuxSettings, "stream_window", 1),
            (MuxSettings, "keepalive_timeout", 10.0),
            (MuxSettings, "receive_buffer", 65536),
            (HttpSettings, "head_bytes", 0),
            (HttpSettings, "head_timeout", 0),
            (HttpSettings, "idle_timeout", -1),
        ]
        for make, name, value in cases:
            with self.subTest(name=name, value=value):
                error = self.assertRaises(SettingsError, make, **{name: value})
                self.assertEqual(error.key, name)

    def test_server_needs_a_listener(self) -> None:
        self.assertEqual(self.assertRaises(SettingsError, ServerSettings, ()).key, "listeners")

    def test_client_needs_a_connector(self) -> None:
        self.assertEqual(self.assertRaises(SettingsError, ClientSettings, ()).key, "connectors")


class AddressTests(SynchronousTestCase):
    def test_text(self) -> None:
        for address, text in [
            (Address("", 80), ":80"),
            (Address("127.0.0.1", 80), "127.0.0.1:80"),
            (Address("::1", 80), "[::1]:80"),
        ]:
            self.assertEqual(str(address), text)

    def test_refused(self) -> None:
        for host, port in [("a b", 80), ("a/b", 80), ("[::1]", 80), ("a@b", 80), ("a", -1), ("a", 65536), ("\n", 1)]:
            self.assertRaises(SettingsError, Address, host, port)

    def test_conflicts(self) -> None:
        for one, other, expected in [
            (Address("", 80), Address("", 80), True),
            (Address("", 80), Address("127.0.0.1", 80), True),
            (Address("127.0.0.1", 80), Address("0.0.0.0", 80), True),
            (Address("::", 80), Address("127.0.0.1", 80), True),
            (Address("localhost", 80), Address("LOCALHOST", 80), True),
            (Address("127.0.0.1", 80), Address("127.0.0.2", 80), False),
            (Address("", 80), Address("", 81), False),
            (Address("", 0), Address("", 0), False),
            (Address("", 53), UdpAddress("", 53), False),
            (UdpAddress("", 53), UdpAddress("127.0.0.1", 53), True),
        ]:
            self.assertEqual((one.conflicts_with(other), other.conflicts_with(one)), (expected, expected), (one, other))


class ServerTests(SynchronousTestCase):
    def refused(self, *listeners: ListenerSettings, admin: Address | None = None) -> str:
        return str(self.assertRaises(SettingsError, ServerSettings, listeners, admin))

    def test_two_listeners_on_one_port(self) -> None:
        self.assertEqual(
            self.refused(listener(Address("", 8421)), listener(Address("127.0.0.1", 8421))),
            'listen "127.0.0.1:8421": the port is already used by listen ":8421"; choose another one',
        )

    def test_entrypoint_on_the_port_of_a_listener(self) -> None:
        self.assertIn(
            'entrypoint ":80": the port is already used by listen ":80"', self.refused(listener(Address("", 80), Address("", 80)))
        )

    def test_admin_on_the_port_of_an_entrypoint(self) -> None:
        self.assertIn(
            'admin ":80": the port is already used by entrypoint ":80"',
            self.refused(listener(Address("", 8421), Address("", 80)), admin=Address("", 80)),
        )

    def test_any_free_port_several_times(self) -> None:
        ServerSettings((listener(Address("", 0), Address("", 0)), listener(Address("", 0))), Address("", 0))

    def test_one_host_two_tunnels(self) -> None:
        rules = (IngressRule("nginx.local", TUNNEL), IngressRule("NGINX.local.", OTHER))
        error = self.assertRaises(SettingsError, listener, Address("", 8421), rules=rules)
        self.assertEqual((error.key, error.value), ("rules", f"nginx.local={OTHER}"))

    def test_the_same_rule_twice(self) -> None:
        rule = IngressRule("nginx.local", TUNNEL)
        self.assertEqual(listener(Address("", 8421), rules=(rule, rule)).rules, (rule, rule))


class CredentialsTests(SynchronousTestCase):
    def test_no_password_in_texts(self) -> None:
        self.assertNotIn("swordfish", repr(connector(credentials=Credentials("me", "swordfish"))))
        error = self.assertRaises(SettingsError, Credentials, "me", "swordfish" * 100)
        self.assertNotIn("swordfish", str(error))
        self.assertEqual(error.key, "password")

    def test_must_fit_the_wire(self) -> None:
        for user, password in [("", "x"), ("x", ""), ("x" * 256, "x"), ("ä" * 128, "x"), ("x", "a\nb"), ("x", "\udc80")]:
            self.assertRaises(SettingsError, Credentials, user, password)


class ErrorTests(SynchronousTestCase):
    def test_line(self) -> None:
        self.assertEqual(str(SettingsError("weight", "256", "is too much")), 'weight "256": is too much')

    def test_without_value(self) -> None:
        self.assertEqual(str(SettingsError("--listen", None, "missing")), "--listen: missing")

    def test_about(self) -> None:
        error = SettingsError("weight", "256", "is too much").about("tunnel.weight", "0x100")
        self.assertEqual(str(error), 'tunnel.weight "0x100": is too much')

    @settings(deadline=None)
    @given(st.text(), st.text(), st.text())
    def test_always_one_line(self, key: str, value: str, hint: str) -> None:
        text = str(SettingsError(key, value, hint))
        self.assertTrue(text.isprintable())
        text.encode()

    def test_long_values_are_cut(self) -> None:
        self.assertLess(len(str(SettingsError("path", "/" * 100_000, "is long"))), 200)
