"""The access_control of a listener: users and permissions, and what ends when they change."""

from __future__ import annotations

from pathlib import Path

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.auth.access_control import AccessControl, ActiveGrant, Rights
from rtunnel.auth.authenticator import ANONYMOUS, Grant
from rtunnel.auth.passwords import PasswordHash
from rtunnel.ops.file_watch import CHECK_INTERVAL
from rtunnel.routing.permissions import Action
from rtunnel.settings import Address, Credentials, ListenerSettings, SettingsError
from tests.auth.test_passwords import text
from tests.support.ids import TUNNEL
from tests.support.logs import logged


class AccessControlTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.users, self.permissions = Path(self.mktemp()), Path(self.mktemp())
        self.users.write_text(f"alice:{text()}\nbob:{text()}\n")
        self.permissions.write_text("bind,visit alice,bob nginx.local\n")
        self.hosts: tuple[str, ...] = ("nginx.local",)
        self.closed: list[str] = []

    def access_control(
        self, *, credentials: Credentials | None = None, users: bool = True, permissions: bool = True
    ) -> AccessControl:
        settings = self.settings(credentials=credentials, users=users, permissions=permissions)
        access_control = AccessControl(settings, Rights.read(settings), self.clock)
        self.addCleanup(access_control.stop)
        return access_control

    def settings(self, *, credentials: Credentials | None = None, users: bool = True, permissions: bool = True) -> ListenerSettings:
        return ListenerSettings(
            listen=Address("", 8421),
            credentials=credentials,
            users=str(self.users) if users else None,
            permissions=str(self.permissions) if permissions else None,
        )

    def register(self, access_control: AccessControl, user: str, action: Action = Action.BIND) -> ActiveGrant:
        grant = Grant(user, PasswordHash(text()))
        active_grant = ActiveGrant(
            grant, action, TUNNEL, lambda: self.hosts, lambda reason: self.closed.append(f"{user}: {reason}")
        )
        access_control.register(active_grant)
        return active_grant

    def test_open(self) -> None:
        """Without users everybody may do everything, as with gost."""
        access_control = self.access_control(users=False, permissions=False)
        self.assertEqual(self.successResultOf(access_control.admit(("any", "body"), "192.0.2.1")), ANONYMOUS)
        self.assertTrue(access_control.may(ANONYMOUS, Action.BIND, TUNNEL, ()))
        self.assertEqual(access_control.summary, "")

    def test_without_owners(self) -> None:
        """Every user may do everything, as with gost."""
        self.assertTrue(self.access_control(permissions=False).may(Grant("alice", None), Action.VISIT, TUNNEL, ()))

    def test_with_owners(self) -> None:
        access_control = self.access_control()
        self.assertTrue(access_control.may(Grant("alice", None), Action.BIND, TUNNEL, self.hosts))
        self.assertFalse(access_control.may(Grant("carol", None), Action.BIND, TUNNEL, self.hosts))
        self.assertEqual(access_control.summary, "2 users and 1 permission rule")

    def test_single_user(self) -> None:
        """That of the URL stands beside those of the file, and wins."""
        access_control = self.access_control(credentials=Credentials("alice", "swordfish"))
        self.assertEqual(access_control.summary, "2 users and 1 permission rule")
        self.register(access_control, "alice")
        access_control.review()
        self.assertEqual(self.closed, ["alice: the user's password was changed"])

    def test_bad_files(self) -> None:
        self.users.write_text("alice:swordfish")
        error = self.assertRaises(SettingsError, self.access_control)
        self.assertIn(f"{self.users}:1: holds no Argon2id hash", str(error))
        self.assertNotIn("swordfish", str(error))

    def test_user_removed(self) -> None:
        access_control = self.access_control()
        self.register(access_control, "alice")
        self.register(access_control, "bob", Action.VISIT)
        self.users.write_text(f"alice:{text()}\n")
        with logged() as lines:
            access_control.reload()
        self.assertEqual(self.closed, ["bob: the user was removed"])
        self.assertIn("1 user and 1 permission rule may connect to :8421", lines)
        self.assertTrue(any("revoking the session of bob" in line and "tunnel 10bc451e:" in line for line in lines), lines)

    def test_password_changed(self) -> None:
        access_control = self.access_control()
        self.register(access_control, "alice")
        self.users.write_text(f"alice:{text(9)}\n")
        access_control.reload()
        self.assertEqual(self.closed, ["alice: the user's password was changed"])

    def test_owners_changed(self) -> None:
        access_control = self.access_control()
        self.register(access_control, "alice")
        self.register(access_control, "alice", Action.VISIT)
        self.permissions.write_text("visit alice nginx.local\n")
        access_control.reload()
        self.assertEqual(self.closed, ["alice: the permissions no longer allow the user to bind it"])

    def test_rules_changed(self) -> None:
        """The hosts of a tunnel are looked up anew."""
        access_control = self.access_control()
        self.register(access_control, "alice")
        self.hosts = ("nginx.local", "other.local")
        access_control.review()
        self.assertEqual(len(self.closed), 1)

    def test_released(self) -> None:
        access_control = self.access_control()
        access_control.unregister(self.register(access_control, "alice"))
        self.users.write_text(f"bob:{text()}\n")
        access_control.reload()
        self.assertEqual(self.closed, [])

    def test_broken_file_changes_nothing(self) -> None:
        """Neither file counts when one of them cannot be had."""
        access_control = self.access_control()
        self.register(access_control, "bob")
        self.users.write_text(f"alice:{text()}\n")
        self.permissions.write_text("bind alice\n")
        error = self.assertRaises(SettingsError, access_control.reload)
        self.assertIn(f"{self.permissions}:1: has 2 words", str(error))
        self.assertEqual(self.closed, [])
        access_control.review()
        self.assertEqual(self.closed, [])

    def test_watched(self) -> None:
        access_control = self.access_control()
        self.register(access_control, "bob")
        self.users.write_text(f"alice:{text()}\n")
        self.clock.advance(CHECK_INTERVAL)
        self.clock.advance(CHECK_INTERVAL)
        self.assertEqual(self.closed, ["bob: the user was removed"])
        access_control.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def apply(self, access_control: AccessControl, settings: ListenerSettings) -> None:
        access_control.apply(settings, Rights.read(settings))

    def test_other_settings(self) -> None:
        """What a reload of the whole process does: users come where nobody was asked, other files are watched, users go."""
        access_control = self.access_control(users=False, permissions=False)
        access_control.register(ActiveGrant(ANONYMOUS, Action.BIND, TUNNEL, lambda: self.hosts, self.closed.append))
        self.apply(access_control, self.settings(users=False, permissions=False))
        self.assertEqual(self.closed, [])
        self.apply(access_control, self.settings())
        self.assertEqual(self.closed, ["the user was removed"])
        self.assertEqual(access_control.summary, "2 users and 1 permission rule")
        self.users.write_text(f"alice:{text()}\n")
        self.clock.advance(CHECK_INTERVAL)
        self.clock.advance(CHECK_INTERVAL)
        self.assertEqual(access_control.summary, "1 user and 1 permission rule")
        self.apply(access_control, self.settings(users=False, permissions=False))
        self.assertEqual(self.successResultOf(access_control.admit(None, "192.0.2.1")), ANONYMOUS)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_the_single_user_stays(self) -> None:
        """A reload that does not touch it is no new password, though it is hashed with a salt."""
        access_control = self.access_control(users=False, permissions=False, credentials=Credentials("me", "swordfish"))
        hashed = access_control._authenticator.users.get("me")  # type: ignore[union-attr]
        access_control.register(ActiveGrant(Grant("me", hashed), Action.BIND, TUNNEL, lambda: self.hosts, self.closed.append))
        access_control.reload()
        self.apply(access_control, self.settings(permissions=False, credentials=Credentials("me", "swordfish")))
        self.assertEqual(self.closed, [])
        self.apply(access_control, self.settings(permissions=False, credentials=Credentials("me", "herring")))
        self.assertEqual(self.closed, ["the user's password was changed"])
