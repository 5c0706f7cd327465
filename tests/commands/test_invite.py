"""``rtunnel invite``, ``login --offline``, ``logout`` and ``profiles``."""

from __future__ import annotations

import os
import sys
from io import StringIO
from pathlib import Path

from rtunnel.auth.users import Users
from rtunnel.cli.exit_status import CommandError
from rtunnel.commands import login
from rtunnel.commands.invite import _name_of
from rtunnel.profiles.invitation import Invitation
from rtunnel.profiles.store import ProfileStore
from rtunnel.routing.permissions import Action, Permissions
from tests.commands.harness import CommandTestCase
from tests.support.authority import Authority
from tests.support.ids import OTHER, TUNNEL

HOSTS = ("shop.example.org", "api.example.org")


class InviteCase(CommandTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir(parents=True)
        os.environ["XDG_CONFIG_HOME"] = str(self.folder / "config")
        self.users, self.permissions = self.folder / "users", self.folder / "permissions"
        self.config = self.folder / "server.yaml"
        self.config.write_text(
            "listen: :8421\nentrypoint: :8080\npath: /proxy\nusers: users\npermissions: permissions\n"
            f"routes:\n- {HOSTS[0]}={TUNNEL}\n- {HOSTS[1]}={TUNNEL}\n- other.example.org={OTHER}\n",
            encoding="utf-8",
        )
        self.permissions.write_text("admin  root  *\n", encoding="utf-8")

    def invite(self, *more: str, host: str = HOSTS[0]) -> tuple[int, str, str]:
        return self.run_command("invite", host, "--user", "bob", "--config", str(self.config), *more)

    def invitation(self, *more: str) -> Invitation:
        status, out, err = self.invite(*more)
        self.assertEqual(status, 0, err)
        (line,) = out.splitlines()
        invitation = Invitation.read(line)
        self.assertNotIn(invitation.password, err)
        return invitation

    def hashes(self) -> Users:
        return Users.parse(self.users.read_text(encoding="utf-8"))

    def log_in(self, *argv: str, typed: str = "") -> tuple[int, str, str]:
        """``rtunnel login``, which does not come as far as to need the reactor."""
        for stream in (self.out, self.err):
            stream.seek(0)
            stream.truncate()
        self.patch(sys, "stdin", StringIO(typed))
        work = login.main(argv, None)
        try:
            work.send(None)
        except StopIteration as end:
            return end.value, self.out.getvalue(), self.err.getvalue()
        except CommandError as error:
            return error.status, self.out.getvalue(), str(error)
        raise AssertionError("it did not end")


class InviteTests(InviteCase):
    def test_what_it_says(self) -> None:
        invitation = self.invitation()
        self.assertEqual((invitation.name, invitation.host, invitation.tunnel), ("shop", HOSTS[0], TUNNEL))
        self.assertEqual((invitation.server, invitation.user), (f"wss://{HOSTS[0]}/proxy", "bob"))
        self.assertGreaterEqual(len(invitation.password), 32)
        self.assertNotEqual(invitation.password, self.invitation().password)

    def test_what_to_add_is_printed(self) -> None:
        status, out, err = self.invite()
        self.assertEqual(status, 0)
        (hashed,) = [line.strip() for line in err.splitlines() if line.startswith("  bob:")]
        known = Users.parse(hashed).get("bob")
        assert known is not None
        self.assertTrue(known.matches(Invitation.read(out).password))
        self.assertIn(f"  intercept  bob  {','.join(HOSTS)}\n", err)
        self.assertIn("is a secret", err)
        self.assertFalse(self.users.exists())

    def test_write(self) -> None:
        """The rule names all hosts of the tunnel, without which it would allow nothing."""
        invitation = self.invitation("--write", "--allow", "intercept,env")
        hashed = self.hashes().get("bob")
        assert hashed is not None
        self.assertTrue(hashed.matches(invitation.password))
        permissions = Permissions.parse(self.permissions.read_text(encoding="utf-8"))
        for action, allowed in ((Action.INTERCEPT, True), (Action.ENV, True), (Action.FILES, False), (Action.GLOBAL, False)):
            self.assertEqual(permissions.may("bob", action, TUNNEL, HOSTS), allowed)
            self.assertFalse(permissions.may("bob", action, OTHER, ("other.example.org",)))
        self.assertTrue(permissions.may("root", Action.ADMIN, OTHER, ("other.example.org",)))

    def test_a_user_whom_the_server_knows(self) -> None:
        """As rtunnel inject makes some: the password stays, and nothing has to be added."""
        auth = self.folder / "auth"
        auth.write_text("alice:swordfish\n", encoding="utf-8")
        where = ("--auth-file", str(auth), "--route", f"{HOSTS[0]}={TUNNEL}")
        status, out, err = self.run_command("invite", HOSTS[0], *where)
        self.assertEqual(status, 0, err)
        invitation = Invitation.read(out)
        self.assertEqual((invitation.user, invitation.password, invitation.tunnel), ("alice", "swordfish", TUNNEL))
        self.assertEqual(invitation.server, f"wss://{HOSTS[0]}/ws")
        self.assertEqual(err.count("\n"), 1)
        self.assertNotIn("swordfish", err)
        for more, words in (
            (("--write",), "--auth-file: is for a user whom the server knows"),
            (("--user", "bob"), "not allowed with argument"),
        ):
            status, out, err = self.run_command("invite", HOSTS[0], *where, *more)
            self.assertEqual((status, out), (1, ""))
            self.assertIn(words, err)
        status, out, err = self.run_command("invite", HOSTS[0], "--auth-file", str(self.folder / "nowhere"))
        self.assertIn("cannot be read", err)

    def test_rotation(self) -> None:
        first = self.invitation("--write")
        self.invitation("--write", "--allow", "intercept,files")
        second = self.invitation("--write")
        self.assertIn("intercept,files  bob", self.permissions.read_text(encoding="utf-8"))
        hashed = self.hashes().get("bob")
        assert hashed is not None
        self.assertTrue(hashed.matches(second.password))
        self.assertFalse(hashed.matches(first.password))
        self.assertEqual(self.permissions.read_text(encoding="utf-8").count("bob"), 1)
        self.assertIn("the one before works no more", self.err.getvalue())

    def test_withdrawal(self) -> None:
        self.invitation("--write")
        self.run_command("invite", "other.example.org", "--user", "ada", "--config", str(self.config), "--write")
        status, out, err = self.invite("--withdraw")
        self.assertEqual((status, out), (0, ""), err)
        self.assertIsNone(self.hashes().get("bob"))
        self.assertIsNotNone(self.hashes().get("ada"))
        self.assertEqual(self.permissions.read_text(encoding="utf-8"), "admin  root  *\nintercept  ada  other.example.org\n")
        self.assertEqual(self.invite("--withdraw")[0], 1)
        self.assertIn("has no user bob", self.err.getvalue())

    def test_withdrawal_of_the_only_user(self) -> None:
        """An empty file would leave the server with what it had before."""
        invitation = self.invitation("--write")
        self.assertEqual(self.invite("--withdraw")[0], 0)
        hashed = self.hashes().get("bob")
        assert hashed is not None
        self.assertFalse(hashed.matches(invitation.password))
        self.assertIn("nobody knows", self.err.getvalue())

    def test_no_permissions_file(self) -> None:
        self.config.write_text(f"routes:\n- {HOSTS[0]}={TUNNEL}\nusers: users\n", encoding="utf-8")
        self.invitation("--write", "--allow", "intercept,reach")
        self.assertIn("every tunnel of the listener", self.err.getvalue())
        self.assertIn("reach: nobody may without a permissions file", self.err.getvalue())

    def test_ca(self) -> None:
        authority = Authority(self.folder)
        invitation = self.invitation("--ca-file", authority.ca_file, "--tls-server-name", "inner", "--host-header", "outer")
        self.assertEqual((invitation.tls_server_name, invitation.host_header), ("inner", "outer"))
        self.assertEqual(len(invitation.ca), 1)

    def test_mistakes(self) -> None:
        for argv, words in (
            (("--config", "none.yaml"), "none.yaml"),
            (("--allow", "everything"), '--allow "everything"'),
            (("--ca-file", str(self.config)), "no certificate"),
            (("--ca-file", "none.pem"), "cannot be read"),
            (("--server", "gopher://shop"), "unknown scheme"),
            (("--name", "a b"), "letters, digits"),
            (("--user", "a:b"), "--user has a name with a space, a colon"),
        ):
            status, out, err = self.invite(*argv)
            self.assertEqual((status, out), (1, ""), argv)
            self.assertIn(words, err)
        status, _, err = self.invite(host="none.example.org")
        self.assertIn("no rule of the server leads it to a tunnel", err)
        self.config.write_text(f"route: {HOSTS[0]}={TUNNEL}\n", encoding="utf-8")
        self.assertIn("--users: missing", self.invite("--write")[2])

    def test_names(self) -> None:
        for host, name in (("shop.example.org", "shop"), ("10.0.0.1", "10-0-0-1"), ("[::1]", "1"), ("_", "tunnel")):
            self.assertEqual(_name_of(host), name)


class LoginTests(InviteCase):
    def test_offline(self) -> None:
        line = self.invite()[1]
        status, out, err = self.log_in("--offline", typed=line)
        self.assertEqual((status, err), (0, ""))
        self.assertIn("kept as the profile shop", out)
        self.assertNotIn(Invitation.read(line).password, out)
        status, out, _ = self.run_command("profiles")
        self.assertRegex(out, r"shop +shop\.example\.org +wss://shop\.example\.org/proxy +bob")
        self.assertIn('"user": "bob"', self.run_command("profiles", "--json")[1])
        self.assertEqual(self.run_command("logout", "shop")[0], 0)
        self.assertIn("there are no profiles", self.run_command("profiles")[1])
        self.assertEqual(self.run_command("logout", "shop")[0], 1)

    def test_on_the_command_line(self) -> None:
        """It works, and says what is wrong with it."""
        status, _, err = self.log_in(self.invite()[1].strip(), "--offline", "--name", "other")
        self.assertEqual(status, 0)
        self.assertIn("history", err)
        self.assertIn("other", ProfileStore(os.environ))

    def test_again(self) -> None:
        """What was added by hand stays."""
        self.log_in("--offline", typed=self.invite()[1])
        store = ProfileStore(os.environ)
        with store.path("shop").open("a", encoding="utf-8") as file:
            file.write("proxy: http://proxy:3128\nname: bobs-laptop # of the office\n")
        second = self.invitation("--ca-file", Authority(self.folder).ca_file)
        for _ in range(2):
            self.assertEqual(self.log_in("--offline", typed=second.line)[0], 0)
        text = store.path("shop").read_text(encoding="utf-8")
        for words in ("proxy: http://proxy:3128\n", "name: bobs-laptop # of the office\n", second.password, "ca-file"):
            self.assertEqual(text.count(words), 1, text)
        self.assertTrue(store.ca_path("shop").exists())

    def test_a_name_for_something_else(self) -> None:
        self.log_in("--offline", typed=self.invite()[1])
        status, out, err = self.log_in("--offline", "--name", "shop", typed=self.invite(host="other.example.org")[1])
        self.assertEqual((status, out), (1, ""))
        self.assertIn("is the name of a profile for shop.example.org", err)

    def test_mistakes(self) -> None:
        line = self.invite()[1].strip()
        for argv, typed, words in (
            ((), "", "this is no invitation"),
            (("--offline",), line[:-3], "not whole"),
            (("--offline", "--name", "../x"), line, "letters, digits"),
            (("--offline", "--ca-file", "none"), line, "cannot be read"),
        ):
            status, out, err = self.log_in(*argv, typed=typed)
            self.assertEqual((status, out), (1, ""))
            self.assertIn(words, err)
            self.assertNotIn(line[20:60], err)

    def test_profiles_that_cannot_be_used(self) -> None:
        self.log_in("--offline", typed=self.invite()[1])
        ProfileStore(os.environ).path("shop").chmod(0o644)
        status, _, err = self.run_command("profiles")
        self.assertEqual(status, 1)
        self.assertIn("chmod 600", err)
