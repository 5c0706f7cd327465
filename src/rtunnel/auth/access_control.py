"""The access_control of one tunnel listener: who is let in, and what he may do there."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any
from uuid import UUID

from attrs import field, frozen
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from rtunnel.auth.authenticator import ANYBODY, Authenticator, Grant, InThread
from rtunnel.auth.files import FileWatcher, read
from rtunnel.auth.passwords import PasswordHash, hash_password
from rtunnel.auth.users import Users
from rtunnel.ids import short_id
from rtunnel.routing.permissions import Action, Permissions
from rtunnel.settings import Credentials, ListenerSettings

__all__ = ["AccessControl", "ActiveGrant", "Rights"]


@frozen(eq=False)
class ActiveGrant:
    """Something that goes on under a grant: a link, or a visit. Held from its begin to its end, whatever ends it.

    :param grant: who it is.
    :param action: what he does.
    :param tunnel: with which tunnel.
    :param hosts: gives the hosts that the decision depends on, at each reload anew.
    :param close: ends it; takes why it is no longer allowed, for the log.
    :param peer: where it comes from, for the log.
    """

    grant: Grant
    action: Action
    tunnel: UUID
    hosts: Callable[[], Collection[str]]
    close: Callable[[str], None] = field(repr=False)
    peer: str = ""


@frozen
class Rights:
    """What the files of a listener say.

    :ivar users: None where there is no such file.
    :ivar permissions: None where there is no such file.
    """

    users: Users | None
    permissions: Permissions | None

    @classmethod
    def read(cls, settings: ListenerSettings) -> Rights:
        """Read them; nothing else happens.

        :raises SettingsError: one of them cannot be had.
        """
        return cls(
            users=read(settings.users, Users.parse) if settings.users is not None else None,
            permissions=read(settings.permissions, Permissions.parse) if settings.permissions is not None else None,
        )


class AccessControl:
    """Users, permissions and what goes on under their rule; owned by the listener's site, from its start to its stop.

    Without users everybody is let in as :data:`~rtunnel.auth.authenticator.ANYBODY`; without permissions everybody may do
    everything. Files are watched from the start.

    :param settings: of the listener.
    :param rights: what its files say.
    :param reactor: the clock of the watch and of the authenticator, and its pool of threads.
    :param in_thread: how passwords are verified; for tests.
    """

    def __init__(self, settings: ListenerSettings, rights: Rights, reactor: Any, *, in_thread: InThread | None = None) -> None:
        self._reactor = reactor
        self._in_thread = in_thread
        self._settings = settings
        self._rights = rights
        self._single: tuple[str, PasswordHash] | None = None
        self._authenticator: Authenticator | None = None
        self._asking = False
        self._leases: set[ActiveGrant] = set()
        self._watch = FileWatcher((), self.reload, reactor)
        self._log = Logger()
        self._hash_single(settings.credentials)
        self._watch_files()
        self._put_in_force()

    # -- what the files and the settings say

    def stop(self) -> None:
        """FileWatcher no more; refusals that wait are not sent any more."""
        self._watch.stop()
        if self._authenticator is not None:
            self._authenticator.close()

    def reload(self) -> None:
        """Read the files again, and end what is no longer allowed.

        :raises SettingsError: one of them cannot be had; nothing has changed then.
        """
        self.apply(self._settings, Rights.read(self._settings))

    def apply(self, settings: ListenerSettings, rights: Rights) -> None:
        """Go on with other settings and rights, and end what they no longer allow."""
        before = (self._settings, self._rights)
        self._settings, self._rights = settings, rights
        if settings.credentials != before[0].credentials:
            self._hash_single(settings.credentials)
        if _files(settings) != _files(before[0]):
            self._watch.stop()
            self._watch_files()
        if (settings.credentials, rights) != (before[0].credentials, before[1]):
            self._put_in_force()
        self.review()

    def _hash_single(self, credentials: Credentials | None) -> None:
        # hashed like the others, so that its answers take as long as theirs; once, since a new salt would be a new password
        self._single = None if credentials is None else (credentials.user, hash_password(credentials.password))

    def _watch_files(self) -> None:
        self._watch = FileWatcher(_files(self._settings), self.reload, self._reactor)
        self._watch.start()

    def _put_in_force(self) -> None:
        users = self._rights.users
        if self._single is not None:
            users = (users or Users({})).with_user(*self._single)
        self._asking = users is not None
        if users is None:
            return
        if self._authenticator is None:
            self._authenticator = Authenticator(users, reactor=self._reactor, in_thread=self._in_thread)
        self._authenticator.users = users
        self._log.info("{summary} may connect to {address}", summary=self.summary, address=str(self._settings.listen))

    def review(self) -> None:
        """End what is no longer allowed."""
        for active_grant in list(self._leases):
            reason = self._fault(active_grant)
            if reason is not None:
                self._log.info(
                    "closing what {user} at {peer} does with tunnel {tunnel}: {reason}",
                    user=active_grant.grant.user,
                    peer=active_grant.peer,
                    tunnel=short_id(active_grant.tunnel),
                    reason=reason,
                )
                active_grant.close(reason)

    @property
    def summary(self) -> str:
        """How many users and rules there are, for the log; ``""`` when nobody is asked."""
        parts = []
        if self._authenticator is not None and self._asking:
            parts.append(_count(len(self._authenticator.users), "user"))
        if self._rights.permissions is not None:
            parts.append(_count(len(self._rights.permissions.rules), "permission rule"))
        return " and ".join(parts)

    # -- decisions

    def admit(self, credentials: tuple[str, str] | None, address: str) -> Deferred[Grant]:
        """Fire with who it is; fails with :class:`~rtunnel.auth.authenticator.AuthenticationFailed`.

        :param address: where it comes from, without port.
        """
        if self._authenticator is None or not self._asking:
            return succeed(ANYBODY)
        return self._authenticator.admit(credentials, address)

    def may(self, grant: Grant, action: Action, tunnel: UUID, hosts: Collection[str]) -> bool:
        """Whether somebody who was let in may do something: :meth:`rtunnel.routing.permissions.Permissions.may`."""
        permissions = self._rights.permissions
        return permissions is None or permissions.may(grant.user, action, tunnel, hosts)

    def register(self, active_grant: ActiveGrant) -> None:
        """Something begins that was allowed."""
        self._leases.add(active_grant)

    def unregister(self, active_grant: ActiveGrant) -> None:
        """It has ended."""
        self._leases.discard(active_grant)

    def _fault(self, active_grant: ActiveGrant) -> str | None:
        """Why something is no longer allowed, None when it is."""
        grant = active_grant.grant
        if self._authenticator is not None and self._asking:
            now = self._authenticator.users.get(grant.user)
            if now is None:
                return "the user is gone"
            if now != grant.hash:
                return "the user has another password"
        if not self.may(grant, active_grant.action, active_grant.tunnel, active_grant.hosts()):
            return f"the permissions no longer allow the user to {active_grant.action} it"
        return None


def _files(settings: ListenerSettings) -> tuple[str, ...]:
    return tuple(path for path in (settings.users, settings.permissions) if path is not None)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")
