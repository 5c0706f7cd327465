"""Access control of one tunnel listener: who may connect, and what each user may do."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any
from uuid import UUID

from attrs import field, frozen
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from rtunnel.auth.authenticator import ANONYMOUS, Authenticator, Grant, InThread, WrongPassword
from rtunnel.auth.files import read
from rtunnel.auth.passwords import PasswordHash, hash_password
from rtunnel.auth.users import Users
from rtunnel.ids import short_id
from rtunnel.ops.file_watch import FileWatcher
from rtunnel.routing.permissions import Action, Permissions
from rtunnel.settings import Credentials, ListenerSettings

__all__ = ["AccessControl", "ActiveGrant", "Rights"]


@frozen(eq=False)
class ActiveGrant:
    """A link or visit that was allowed; registered as long as it lives, however it ends.

    :param grant: the user.
    :param action: what was allowed.
    :param tunnel: the tunnel.
    :param hosts: returns the hosts that the permissions are checked for, again at each reload.
    :param close: ends it; takes the reason, for the log.
    :param peer: the address of the other end, for the log.
    """

    grant: Grant
    action: Action
    tunnel: UUID
    hosts: Callable[[], Collection[str]]
    close: Callable[[str], None] = field(repr=False)
    peer: str = ""


@frozen
class Rights:
    """The contents of a listener's files.

    :ivar users: None without a users file.
    :ivar permissions: None without a permissions file.
    """

    users: Users | None
    permissions: Permissions | None

    @classmethod
    def read(cls, settings: ListenerSettings) -> Rights:
        """Read the files.

        :raises SettingsError: a file cannot be read or contains an error.
        """
        return cls(
            users=read(settings.users, Users.parse) if settings.users is not None else None,
            permissions=read(settings.permissions, Permissions.parse) if settings.permissions is not None else None,
        )


class AccessControl:
    """Users, permissions and active grants; owned by the listener group, from its start to its stop.

    Without users everyone is admitted as :data:`~rtunnel.auth.authenticator.ANONYMOUS`; without permissions every user may do
    everything. The files are watched from the start.

    :param settings: of the listener.
    :param rights: the contents of its files.
    :param reactor: the clock of the file watcher and of the authenticator, and its pool of threads.
    :param in_thread: runs a function in a thread; for tests.
    :param on_wrong: called with each wrong password that somebody has tried.
    """

    def __init__(
        self,
        settings: ListenerSettings,
        rights: Rights,
        reactor: Any,
        *,
        in_thread: InThread | None = None,
        on_wrong: Callable[[WrongPassword], None] = lambda _: None,
    ) -> None:
        self._reactor = reactor
        self._on_wrong = on_wrong
        self._in_thread = in_thread
        self._settings = settings
        self._rights = rights
        self._single: tuple[str, PasswordHash] | None = None
        self._authenticator: Authenticator | None = None
        self._authenticating = False
        self._active: set[ActiveGrant] = set()
        self._watch = FileWatcher((), self.reload, reactor)
        self._log = Logger()
        self._hash_single(settings.credentials)
        self._watch_files()
        self._apply_users()

    # -- files and settings

    def stop(self) -> None:
        """Stop watching the files; delayed rejections are not sent anymore."""
        self._watch.stop()
        if self._authenticator is not None:
            self._authenticator.close()

    def reload(self) -> None:
        """Read the files again, and close what is no longer allowed.

        :raises SettingsError: a file cannot be read or contains an error; then nothing has changed.
        """
        self.apply(self._settings, Rights.read(self._settings))

    def apply(self, settings: ListenerSettings, rights: Rights) -> None:
        """Apply new settings and rights, and close what they no longer allow."""
        before = (self._settings, self._rights)
        self._settings, self._rights = settings, rights
        if settings.credentials != before[0].credentials:
            self._hash_single(settings.credentials)
        if _files(settings) != _files(before[0]):
            self._watch.stop()
            self._watch_files()
        if (settings.credentials, rights) != (before[0].credentials, before[1]):
            self._apply_users()
        self.review()

    def _hash_single(self, credentials: Credentials | None) -> None:
        # hashed like the others, so that verifying it takes as long; only once, since a new salt would look like a new password
        self._single = None if credentials is None else (credentials.user, hash_password(credentials.password))

    def _watch_files(self) -> None:
        self._watch = FileWatcher(_files(self._settings), self.reload, self._reactor)
        self._watch.start()

    def _apply_users(self) -> None:
        users = self._rights.users
        if self._single is not None:
            users = (users or Users({})).with_user(*self._single)
        self._authenticating = users is not None
        if users is None:
            return
        if self._authenticator is None:
            self._authenticator = Authenticator(users, reactor=self._reactor, in_thread=self._in_thread, on_wrong=self._on_wrong)
        self._authenticator.users = users
        self._log.info("{summary} may connect to {address}", summary=self.summary, address=str(self._settings.listen))

    def review(self) -> None:
        """Close what is no longer allowed."""
        for active_grant in list(self._active):
            reason = self._revocation(active_grant)
            if reason is not None:
                self._log.info(
                    "revoking the session of {user} at {peer} with tunnel {tunnel}: {reason}",
                    user=active_grant.grant.user or "an anonymous client",
                    peer=active_grant.peer,
                    tunnel=short_id(active_grant.tunnel),
                    reason=reason,
                )
                active_grant.close(reason)

    @property
    def summary(self) -> str:
        """The numbers of users and rules, for the log; ``""`` without authentication and permissions."""
        parts = []
        if self._authenticator is not None and self._authenticating:
            parts.append(_count(len(self._authenticator.users), "user"))
        if self._rights.permissions is not None:
            parts.append(_count(len(self._rights.permissions.rules), "permission rule"))
        return " and ".join(parts)

    # -- decisions

    def admit(self, credentials: tuple[str, str] | None, address: str, key: bytes = b"") -> Deferred[Grant]:
        """Authenticate a client or visitor.

        :param credentials: user name and password.
        :param address: where the connection comes from, without a port.
        :param key: the secret by which the client wants to be known again, if it sent one.
        :returns: fires with the user; fails with :class:`~rtunnel.auth.authenticator.AuthenticationFailed`.
        """
        if self._authenticator is None or not self._authenticating:
            return succeed(ANONYMOUS)
        return self._authenticator.admit(credentials, address, key)

    def wrong_elsewhere(self, wrong: WrongPassword) -> None:
        """Count a wrong password that somebody has tried at another server."""
        if self._authenticator is not None and self._authenticating:
            self._authenticator.wrong_elsewhere(wrong)

    def may(self, grant: Grant, action: Action, tunnel: UUID, hosts: Collection[str]) -> bool:
        """Tell whether a user may do something: :meth:`rtunnel.routing.permissions.Permissions.may`.

        Without permissions everybody may do everything, but for what nobody may without a rule.
        """
        permissions = self._rights.permissions
        return not action.explicit if permissions is None else permissions.may(grant.user, action, tunnel, hosts)

    @property
    def authenticates(self) -> bool:
        """Whether there are users: only then is somebody known to be who they say."""
        return self._authenticating

    def says(self, user: str, action: Action, tunnel: UUID, hosts: Collection[str]) -> bool:
        """Tell whether a rule of the permissions says that a user may do something: without them none does."""
        permissions = self._rights.permissions
        return permissions is not None and permissions.may(user, action, tunnel, hosts)

    def administers(self, grant: Grant, tunnel: UUID, hosts: Collection[str]) -> bool:
        """Tell whether a user may end the leases of others: only if a rule says so, nobody by default."""
        return self.may(grant, Action.ADMIN, tunnel, hosts)

    def register(self, active_grant: ActiveGrant) -> None:
        """Add a link or visit that was allowed."""
        self._active.add(active_grant)

    def unregister(self, active_grant: ActiveGrant) -> None:
        """Remove it; it has ended."""
        self._active.discard(active_grant)

    def _revocation(self, active_grant: ActiveGrant) -> str | None:
        """Return the reason why something is no longer allowed, None if it still is."""
        grant = active_grant.grant
        if self._authenticator is not None and self._authenticating:
            now = self._authenticator.users.get(grant.user)
            if now is None:
                return "the user was removed"
            if now != grant.hash:
                return "the user's password was changed"
        if not self.may(grant, active_grant.action, active_grant.tunnel, active_grant.hosts()):
            return f"the permissions no longer allow the user to {_VERBS.get(active_grant.action, active_grant.action)} it"
        return None


_VERBS = {Action.GLOBAL: "bind"}
"""What a user is said to do, where that is not the name of the action."""


def _files(settings: ListenerSettings) -> tuple[str, ...]:
    return tuple(path for path in (settings.users, settings.permissions) if path is not None)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")
