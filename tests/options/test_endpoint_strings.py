"""Twisted's endpoint strings as ``--listen`` and ``--server`` take them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.endpoints import clientFromString, quoteStringArgument, serverFromString
from twisted.internet.testing import MemoryReactor
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.options import kinds
from rtunnel.options.endpoint_strings import EndpointString, is_endpoint_string, read_client_string, read_server_string
from rtunnel.options.layers import Layer, put
from rtunnel.options.table import SERVER, find
from rtunnel.settings import Address


class EndpointStringTests(SynchronousTestCase):
    def test_told_from_addresses(self) -> None:
        for text in ("tcp:80", "ssl:443:privateKey=k", "tls:a:443", "TCP:80:interface=127.0.0.1", "tcp6:80", "ssl:h\\:x:1"):
            self.assertTrue(is_endpoint_string(text), text)
        for text in (":80", "localhost:80", "tcp://:80", "tls://h:443", "ssl", "sslhost:443", "unix:/path", "[::1]:80"):
            self.assertFalse(is_endpoint_string(text), text)

    def test_server(self) -> None:
        found = {
            "tcp:8421": EndpointString(":8421"),
            "tcp:port=8421:interface=127.0.0.1": EndpointString("127.0.0.1:8421"),
            "tcp4:80": EndpointString("0.0.0.0:80"),
            "tcp6:80": EndpointString("[::]:80"),
            r"tcp:80:interface=\:\:1": EndpointString("[::1]:80"),
            "ssl:443:privateKey=both.pem": EndpointString(":443", "wss", (("tls.cert_file", "both.pem"),)),
            "ssl:443:privateKey=k.pem:certKey=c.pem:interface=::1": None,
            r"ssl:443:privateKey=C\:\\k.pem:certKey=c=.pem": EndpointString(
                ":443", "wss", (("tls.cert_file", "c=.pem"), ("tls.key_file", "C:\\k.pem"))
            ),
        }
        for text, expected in found.items():
            with self.subTest(text=text):
                if expected is None:
                    self.assertRaises(ValueError, read_server_string, text)
                else:
                    self.assertEqual(read_server_string(text), expected)

    def test_client(self) -> None:
        self.assertEqual(read_client_string("tcp:proxy:8421"), EndpointString("proxy:8421"))
        self.assertEqual(read_client_string("ssl:host=shop.example.org:port=443"), EndpointString("shop.example.org:443", "wss"))
        self.assertEqual(
            read_client_string("tls:a:443:certificate=c.pem:privateKey=k.pem"),
            EndpointString("a:443", "wss", (("tls.cert_file", "c.pem"), ("tls.key_file", "k.pem"))),
        )

    def test_refused(self) -> None:
        hints = {
            (read_server_string, "ssl:443"): "no privateKey",
            (read_server_string, "ssl:443:privateKey=k:extraCertChain=x"): "append the chain",
            (read_server_string, "ssl:443:privateKey=k:sslmethod=SSLv23_METHOD"): "TLS 1.2",
            (read_server_string, "tls:443"): "endpoint string of clients",
            (read_server_string, "tcp:"): "without a port",
            (read_server_string, "tcp:80:backlog=5"): "no effect",
            (read_server_string, "tcp:80:80"): "one value too many",
            (read_server_string, "tcp:80:port=81:port=82"): "given twice",
            (read_server_string, "tcp:80\\"): "escapes",
            (read_client_string, "ssl:host"): "without a port",
            (read_client_string, "tcp"): "without a host",
            (read_client_string, "ssl:h:1:caCertsDir=/etc/ssl"): "--ca-file",
            (read_client_string, "tls:h:1:trustRoots=/etc/ssl"): "--ca-file",
            (read_client_string, "tcp:h:1:timeout=3"): "--handshake-timeout",
        }
        for (read, text), hint in hints.items():
            with self.subTest(text=text):
                self.assertIn(hint, str(self.assertRaises(ValueError, read, text)))

    @given(st.text(min_size=1), st.text(min_size=1), st.integers(1, 65535))
    def test_quoted_as_twisted_does(self, key: str, certificate: str, port: int) -> None:
        found = read_server_string(f"ssl:{port}:privateKey={quoteStringArgument(key)}:certKey={quoteStringArgument(certificate)}")
        files = dict(found.files)
        self.assertEqual(files["tls.cert_file"], certificate)
        self.assertEqual(files.get("tls.key_file", certificate), key)

    def test_twisted_reads_the_same(self) -> None:
        for text in ("tcp:8421", "tcp:port=8421:interface=127.0.0.1", r"tcp:8421:interface=\:\:1"):
            endpoint = serverFromString(MemoryReactor(), text)
            address = kinds.ADDRESS.parse(read_server_string(text).address)
            self.assertEqual((endpoint._interface, endpoint._port), (address.host, address.port))
        for text in ("tcp:proxy:8421", "tcp:host=proxy:port=8421"):
            client = clientFromString(MemoryReactor(), text)
            address = kinds.ADDRESS.parse(read_client_string(text).address)
            self.assertEqual((client._host, client._port), (address.host, address.port))

    def test_sets_what_the_options_set(self) -> None:
        layer: Layer = {}
        put(layer, find(SERVER, "listen"), "--listen", "ssl:8443:privateKey=k.pem:certKey=c.pem")
        values = {field: value.value for field, value in layer.items()}
        self.assertEqual(
            values, {"listen": Address("", 8443), "transport": "wss", "tls.cert_file": "c.pem", "tls.key_file": "k.pem"}
        )
