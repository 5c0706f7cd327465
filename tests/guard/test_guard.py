"""The guard of a listener: users and owners, and what ends when they change."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.guard.files import LOOK
from rtunnel.guard.gate import ANYBODY, Grant
from rtunnel.guard.guard import Guard, Lease, Rights
from rtunnel.guard.passwords import PasswordHash
from rtunnel.routing.owners import Action
from rtunnel.settings import Address, Credentials, ListenerSettings, SettingsError
from tests.guard.test_passwords import text
from tests.support.logs import logged

TUNNEL = UUID("10bc451e-59dc-4c70-999e-91a30813ac78")


class GuardTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.users, self.owners = Path(self.mktemp()), Path(self.mktemp())
        self.users.write_text(f"alice:{text()}\nbob:{text()}\n")
        self.owners.write_text("bind,visit alice,bob nginx.local\n")
        self.hosts: tuple[str, ...] = ("nginx.local",)
        self.closed: list[str] = []

    def guard(self, *, credentials: Credentials | None = None, users: bool = True, owners: bool = True) -> Guard:
        settings = self.settings(credentials=credentials, users=users, owners=owners)
        guard = Guard(settings, Rights.read(settings), self.clock)
        self.addCleanup(guard.stop)
        return guard

    def settings(self, *, credentials: Credentials | None = None, users: bool = True, owners: bool = True) -> ListenerSettings:
        return ListenerSettings(
            listen=Address("", 8421),
            credentials=credentials,
            users=str(self.users) if users else None,
            owners=str(self.owners) if owners else None,
        )

    def hold(self, guard: Guard, user: str, action: Action = Action.BIND) -> Lease:
        grant = Grant(user, PasswordHash(text()))
        lease = Lease(grant, action, TUNNEL, lambda: self.hosts, lambda reason: self.closed.append(f"{user}: {reason}"))
        guard.hold(lease)
        return lease

    def test_open(self) -> None:
        """Without users everybody may do everything, as with gost."""
        guard = self.guard(users=False, owners=False)
        self.assertEqual(self.successResultOf(guard.admit(("any", "body"), "192.0.2.1")), ANYBODY)
        self.assertTrue(guard.may(ANYBODY, Action.BIND, TUNNEL, ()))
        self.assertEqual(guard.summary, "")

    def test_without_owners(self) -> None:
        """Every user may do everything, as with gost."""
        self.assertTrue(self.guard(owners=False).may(Grant("alice", None), Action.VISIT, TUNNEL, ()))

    def test_with_owners(self) -> None:
        guard = self.guard()
        self.assertTrue(guard.may(Grant("alice", None), Action.BIND, TUNNEL, self.hosts))
        self.assertFalse(guard.may(Grant("carol", None), Action.BIND, TUNNEL, self.hosts))
        self.assertEqual(guard.summary, "2 users and 1 owner rule")

    def test_single_user(self) -> None:
        """That of the URL stands beside those of the file, and wins."""
        guard = self.guard(credentials=Credentials("alice", "swordfish"))
        self.assertEqual(guard.summary, "2 users and 1 owner rule")
        self.hold(guard, "alice")
        guard.review()
        self.assertEqual(self.closed, ["alice: no longer allowed: the user has another password"])

    def test_bad_files(self) -> None:
        self.users.write_text("alice:swordfish")
        error = self.assertRaises(SettingsError, self.guard)
        self.assertIn(f"{self.users}:1: holds no Argon2id hash", str(error))
        self.assertNotIn("swordfish", str(error))

    def test_user_removed(self) -> None:
        guard = self.guard()
        self.hold(guard, "alice")
        self.hold(guard, "bob", Action.VISIT)
        self.users.write_text(f"alice:{text()}\n")
        with logged() as lines:
            guard.reload()
        self.assertEqual(self.closed, ["bob: no longer allowed: the user is gone"])
        self.assertIn("1 user and 1 owner rule may connect to :8421", lines)
        self.assertTrue(any("closing what bob" in line and str(TUNNEL) in line for line in lines), lines)

    def test_password_changed(self) -> None:
        guard = self.guard()
        self.hold(guard, "alice")
        self.users.write_text(f"alice:{text(9)}\n")
        guard.reload()
        self.assertEqual(self.closed, ["alice: no longer allowed: the user has another password"])

    def test_owners_changed(self) -> None:
        guard = self.guard()
        self.hold(guard, "alice")
        self.hold(guard, "alice", Action.VISIT)
        self.owners.write_text("visit alice nginx.local\n")
        guard.reload()
        self.assertEqual(self.closed, ["alice: no longer allowed: the owners no longer allow the user to bind it"])

    def test_rules_changed(self) -> None:
        """The hosts of a tunnel are looked up anew."""
        guard = self.guard()
        self.hold(guard, "alice")
        self.hosts = ("nginx.local", "other.local")
        guard.review()
        self.assertEqual(len(self.closed), 1)

    def test_released(self) -> None:
        guard = self.guard()
        guard.release(self.hold(guard, "alice"))
        self.users.write_text(f"bob:{text()}\n")
        guard.reload()
        self.assertEqual(self.closed, [])

    def test_broken_file_changes_nothing(self) -> None:
        """Neither file counts when one of them cannot be had."""
        guard = self.guard()
        self.hold(guard, "bob")
        self.users.write_text(f"alice:{text()}\n")
        self.owners.write_text("bind alice\n")
        error = self.assertRaises(SettingsError, guard.reload)
        self.assertIn(f"{self.owners}:1: has 2 words", str(error))
        self.assertEqual(self.closed, [])
        guard.review()
        self.assertEqual(self.closed, [])

    def test_watched(self) -> None:
        guard = self.guard()
        self.hold(guard, "bob")
        self.users.write_text(f"alice:{text()}\n")
        self.clock.advance(LOOK)
        self.clock.advance(LOOK)
        self.assertEqual(self.closed, ["bob: no longer allowed: the user is gone"])
        guard.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def take(self, guard: Guard, settings: ListenerSettings) -> None:
        guard.take(settings, Rights.read(settings))

    def test_other_settings(self) -> None:
        """What a reload of the whole process does: users come where nobody was asked, other files are watched, users go."""
        guard = self.guard(users=False, owners=False)
        guard.hold(Lease(ANYBODY, Action.BIND, TUNNEL, lambda: self.hosts, self.closed.append))
        self.take(guard, self.settings(users=False, owners=False))
        self.assertEqual(self.closed, [])
        self.take(guard, self.settings())
        self.assertEqual(self.closed, ["no longer allowed: the user is gone"])
        self.assertEqual(guard.summary, "2 users and 1 owner rule")
        self.users.write_text(f"alice:{text()}\n")
        self.clock.advance(LOOK)
        self.clock.advance(LOOK)
        self.assertEqual(guard.summary, "1 user and 1 owner rule")
        self.take(guard, self.settings(users=False, owners=False))
        self.assertEqual(self.successResultOf(guard.admit(None, "192.0.2.1")), ANYBODY)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_the_single_user_stays(self) -> None:
        """A reload that does not touch it is no new password, though it is hashed with a salt."""
        guard = self.guard(users=False, owners=False, credentials=Credentials("me", "swordfish"))
        hashed = guard._gate.users.get("me")  # type: ignore[union-attr]
        guard.hold(Lease(Grant("me", hashed), Action.BIND, TUNNEL, lambda: self.hosts, self.closed.append))
        guard.reload()
        self.take(guard, self.settings(owners=False, credentials=Credentials("me", "swordfish")))
        self.assertEqual(self.closed, [])
        self.take(guard, self.settings(owners=False, credentials=Credentials("me", "herring")))
        self.assertEqual(self.closed, ["no longer allowed: the user has another password"])
