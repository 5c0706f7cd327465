"""The folder of profiles; a profile as a layer of the settings of all commands."""

from __future__ import annotations

import os
import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from rtunnel.asking.arguments import ServerParser
from rtunnel.cli.exit_status import CommandError
from rtunnel.options.layers import RawOption
from rtunnel.options.table import CLIENT, VISITOR, find
from rtunnel.profiles.choosing import choose
from rtunnel.profiles.invitation import Invitation, certificates_of
from rtunnel.profiles.profile import load_profile, profile_text, read_profile
from rtunnel.profiles.store import ProfileStore
from rtunnel.roles import CLIENT_ROLE, VISITOR_ROLE
from rtunnel.settings import Credentials, SettingsError
from tests.support.authority import Authority
from tests.support.ids import OTHER, TUNNEL
from tests.support.processes import ROOT

SHOP = Invitation("shop", "shop.example.org", "wss://cluster.example.org/proxy", TUNNEL, "bob", 'a "quoted": #word')


class ProfileTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        folder = Path(self.mktemp()).absolute()
        self.environ = {"HOME": "/nowhere", "XDG_CONFIG_HOME": str(folder)}
        self.store = ProfileStore(self.environ)

    def keep(self, invitation: Invitation = SHOP, more: str = "") -> None:
        ca = invitation.ca_text
        text = profile_text(invitation, self.store.ca_path(invitation.name).name if ca else None)
        self.store.write(invitation.name, text + more, ca)


class StoreTests(ProfileTestCase):
    def test_where(self) -> None:
        self.assertEqual(str(ProfileStore({"HOME": "/home/bob"}).folder), "/home/bob/.config/rtunnel/profiles")
        self.assertEqual(
            str(ProfileStore({"HOME": "/home/bob", "XDG_CONFIG_HOME": "x"}).folder), "/home/bob/.config/rtunnel/profiles"
        )
        self.assertEqual(str(ProfileStore({"XDG_CONFIG_HOME": "/x"}).folder), "/x/rtunnel/profiles")

    def test_nobody_else_may_open_it(self) -> None:
        before = os.umask(0)
        self.addCleanup(os.umask, before)
        self.keep()
        for path, mode in ((self.store.folder.parent, 0o700), (self.store.folder, 0o700), (self.store.path("shop"), 0o600)):
            self.assertEqual(path.stat().st_mode & 0o777, mode)

    def test_what_others_may_open_is_refused(self) -> None:
        self.keep()
        for path, mode, words in (
            (self.store.path("shop"), 0o640, "chmod 600"),
            (self.store.path("shop"), 0o604, "chmod 600"),
            (self.store.folder, 0o750, "chmod 700"),
        ):
            before = path.stat().st_mode
            path.chmod(mode)
            self.assertIn(words, str(self.assertRaises(SettingsError, self.store.read, "shop")))
            path.chmod(before)
        self.store.read("shop")

    def test_of_somebody_else(self) -> None:
        self.keep()
        self.patch(os, "geteuid", lambda: os.getuid() + 1)
        self.assertIn("belongs to somebody else", str(self.assertRaises(SettingsError, self.store.read, "shop")))

    def test_too_large(self) -> None:
        self.keep(more="#" * 2**18)
        self.assertIn("larger than", str(self.assertRaises(SettingsError, self.store.read, "shop")))

    def test_names(self) -> None:
        self.assertEqual(self.store.names(), [])
        self.keep()
        (self.store.folder / "no.good.yaml").touch()
        (self.store.folder / "notes").touch()
        self.assertEqual(self.store.names(), ["shop"])
        self.assertNotIn("../shop", self.store)

    def test_remove(self) -> None:
        self.keep(Invitation("shop", "h", "s:1", TUNNEL, ca=(b"certificate",)))
        self.store.remove("shop")
        self.assertFalse(self.store.folder.exists())
        self.assertRaises(SettingsError, self.store.remove, "shop")


class LayerTests(ProfileTestCase):
    """``--profile``, below everything else."""

    def raw(self, *words: str) -> list[RawOption]:
        return [(find(CLIENT, name), f"--{name}", text) for name, text in zip(words[::2], words[1::2], strict=True)]

    def test_client(self) -> None:
        self.keep()
        (connector,) = CLIENT_ROLE.load(self.raw("profile", "shop", "target", ":3000"), self.environ).settings.connectors
        self.assertEqual((connector.server.host, connector.server.port, connector.transport), ("cluster.example.org", 443, "wss"))
        self.assertEqual((connector.tunnel, connector.path), (TUNNEL, "/proxy"))
        self.assertEqual(connector.credentials, Credentials("bob", 'a "quoted": #word'))

    def test_visitor(self) -> None:
        """Keys that a visitor does not have do no harm."""
        self.keep(more="weight: 255\n")
        raw = [
            (find(VISITOR, name), f"--{name}", text)
            for name, text in (("profile", "shop"), ("listen", "127.0.0.1:0"), ("to", "ssh"))
        ]
        (visitor,) = VISITOR_ROLE.load(raw, self.environ).settings.visitors
        self.assertEqual((visitor.tunnel, visitor.credentials and visitor.credentials.user), (TUNNEL, "bob"))

    def test_variable(self) -> None:
        self.keep()
        environ = self.environ | {"RTUNNEL_PROFILE": "shop"}
        (connector,) = CLIENT_ROLE.load(self.raw("target", ":3000"), environ).settings.connectors
        self.assertEqual(connector.tunnel, TUNNEL)

    def test_everything_else_overrides_it(self) -> None:
        self.keep(more="name: of-the-profile\nreason: of-the-profile\nbackoff-min: 1s\nweight: 7\n")
        path = self.store.folder / "client.config"
        path.write_text("name: of-the-file\nreason: of-the-file\nbackoff-min: 2s\n", encoding="utf-8")
        raw = self.raw("config", str(path), "profile", "shop", "target", ":3000", "backoff-min", "4s")
        environ = self.environ | {"RTUNNEL_BACKOFF_MIN": "3s", "RTUNNEL_REASON": "of-the-environment"}
        (connector,) = CLIENT_ROLE.load(raw, environ).settings.connectors
        self.assertEqual((connector.weight, connector.name), (7, "of-the-file"))
        self.assertEqual((connector.reason, connector.backoff_min), ("of-the-environment", 4.0))

    def test_its_password_is_for_its_server_only(self) -> None:
        self.keep()
        for words, environ in (
            (("server", "wss://evil.example.org/proxy"), {}),
            (("server", "ws://cluster.example.org:443/proxy"), {}),
            ((), {"RTUNNEL_SERVER": "evil.example.org:80"}),
            (("F", f"tunnel+wss://evil.example.org:443?tunnel.id={OTHER}&path=/proxy"), {}),
        ):
            raw = self.raw("profile", "shop", "target", ":3000", *words)
            error = self.assertRaises(SettingsError, CLIENT_ROLE.load, raw, self.environ | environ)
            self.assertIn("another server than that of the profile shop", str(error))
            self.assertNotIn("quoted", str(error))

    def test_another_server_with_another_password(self) -> None:
        self.keep()
        environ = self.environ | {"RTUNNEL_AUTH": "ada:swordfish"}
        raw = self.raw("profile", "shop", "target", ":3000", "server", "wss://other.example.org/proxy")
        (connector,) = CLIENT_ROLE.load(raw, environ).settings.connectors
        self.assertEqual((connector.server.host, connector.credentials), ("other.example.org", Credentials("ada", "swordfish")))

    def test_the_ca_lies_beside_it(self) -> None:
        ca = certificates_of(Path(Authority(self.mktemp()).ca_file).read_text(encoding="ascii"))
        self.keep(Invitation("shop", "h", "wss://server/", TUNNEL, tls_server_name="inner", ca=ca))
        (connector,) = CLIENT_ROLE.load(self.raw("profile", "shop", "target", ":3000"), self.environ).settings.connectors
        self.assertEqual(connector.tls.server_name, "inner")
        assert connector.tls.ca_file is not None
        self.assertIn("BEGIN CERTIFICATE", Path(connector.tls.ca_file).read_text())

    def test_url(self) -> None:
        """Where a visitor comes, for a request that says how far it came."""
        for server, url in (
            ("wss://shop.example.org/proxy", "https://shop.example.org/"),
            ("wss://shop.example.org:8443/proxy", "https://shop.example.org:8443/"),
            ("ws://shop.example.org:8080/proxy", "http://shop.example.org:8080/"),
            ("wss://other.example.org:8443/proxy", "https://shop.example.org/"),
            ("tls://shop.example.org:8421", "https://shop.example.org/"),
            ("shop.example.org:80", "http://shop.example.org/"),
        ):
            self.keep(Invitation("shop", "shop.example.org", server, TUNNEL))
            self.assertEqual(load_profile(self.store, "shop", "HOST").url, url, server)

    def test_url_where_dns_does_not_know_the_host(self) -> None:
        for server, url in (
            ("ws://192.0.2.1/proxy", "http://192.0.2.1/"),
            ("ws://[2001:db8::1]:81/proxy", "http://[2001:db8::1]:81/"),
        ):
            self.keep(Invitation("shop", "shop.example.org", server, TUNNEL, host_header="shop.example.org"))
            self.assertEqual(load_profile(self.store, "shop", "HOST").url, url)

    def test_unknown(self) -> None:
        for words in ("there is none yet", "there are shop"):
            error = self.assertRaises(SettingsError, CLIENT_ROLE.load, self.raw("profile", "shpo", "target", ":1"), self.environ)
            self.assertIn(words, str(error))
            self.keep()

    def test_damaged(self) -> None:
        for text, words in (
            ("", "empty"),
            ("host: h\nserver: s:1\n", "tunnel: missing"),
            (f"server: s:1\ntunnel: {TUNNEL}\n", "host: missing"),
            (f"host: h\nserver: s:1\nconnectors:\n- tunnel: {TUNNEL}\n", "without a list"),
            ("host: h\nsrever: s:1\n", "did you mean server"),
        ):
            self.store.write("shop", text, None)
            error = self.assertRaises(SettingsError, CLIENT_ROLE.load, self.raw("profile", "shop", "target", ":1"), self.environ)
            self.assertIn(words, str(error))
            self.assertIn("shop.yaml", str(error))


class PageTests(ProfileTestCase):
    def test_example(self) -> None:
        """The profile in docs/profiles.md is one."""
        page = (
            (ROOT / "docs" / "profiles.md").read_text(encoding="utf-8").partition("## What a profile is\n")[2].partition("\n## ")[0]
        )
        (block,) = re.findall(r"(?:^    .*\n)+", page, re.MULTILINE)
        profile = read_profile("shop", "/x/shop.yaml", "".join(line[4:] + "\n" for line in block.splitlines()))
        self.assertEqual((profile.host, profile.ca_file), ("shop.example.org", "/x/shop.ca.pem"))


class ChoosingTests(ProfileTestCase):
    def parse(self, *argv: str) -> tuple[str, str]:
        """The host and the server that a command with a HOST would use."""
        parser = ServerParser("env", description="", examples="")
        parser.add_argument("host", nargs="?")
        arguments, settings = parser.parse(argv, self.environ)
        return arguments.host, settings.server.host

    def test_in_place_of_a_host(self) -> None:
        self.keep()
        self.assertEqual(self.parse("shop"), ("shop.example.org", "cluster.example.org"))

    def test_given(self) -> None:
        self.keep()
        for argv in (("--profile", "shop"), ("shop", "--profile", "shop")):
            self.assertEqual(self.parse(*argv), ("shop.example.org", "cluster.example.org"))
        self.assertEqual(self.parse("--profile", "shop", "other.example.org"), ("other.example.org", "cluster.example.org"))
        self.environ["RTUNNEL_PROFILE"] = "shop"
        self.assertEqual(self.parse(), ("shop.example.org", "cluster.example.org"))

    def test_the_command_line_has_the_last_word(self) -> None:
        self.keep()
        self.keep(Invitation("test", "test.example.org", "s:1", TUNNEL))
        self.environ["RTUNNEL_PROFILE"] = "shop"
        for argv in (("--profile", "test"), ("test",), ("--profile", "shop", "--profile", "test")):
            self.assertEqual(self.parse(*argv), ("test.example.org", "s"))
        self.assertEqual(self.parse("elsewhere.example.org"), ("elsewhere.example.org", "cluster.example.org"))

    def test_a_host_is_a_host(self) -> None:
        self.keep()
        self.assertEqual(choose("shop.example.org", [], self.environ), ("shop.example.org", []))
        error = self.assertRaises(CommandError, self.parse, "shop.example.org")
        self.assertIn("--server: missing", str(error))
