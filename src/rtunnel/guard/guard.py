"""The guard of one tunnel listener: who is let in, and what he may do there."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any
from uuid import UUID

from attrs import field, frozen
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from rtunnel.guard.files import Watch, read
from rtunnel.guard.gate import ANYBODY, Gate, Grant, InThread
from rtunnel.guard.passwords import PasswordHash, hash_password
from rtunnel.guard.users import Users
from rtunnel.routing.owners import Action, Owners
from rtunnel.settings import Credentials, ListenerSettings

__all__ = ["Guard", "Lease", "Rights"]


@frozen(eq=False)
class Lease:
    """Something that goes on under a grant: a link, or a visit. Held from its begin to its end, whatever ends it.

    :param grant: who it is.
    :param action: what he does.
    :param tunnel: with which tunnel.
    :param hosts: gives the hosts that the decision depends on, at each reload anew.
    :param close: ends it; takes the reason in words.
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
    :ivar owners: None where there is no such file.
    """

    users: Users | None
    owners: Owners | None

    @classmethod
    def read(cls, settings: ListenerSettings) -> Rights:
        """Read them; nothing else happens.

        :raises SettingsError: one of them cannot be had.
        """
        return cls(
            users=read(settings.users, Users.parse) if settings.users is not None else None,
            owners=read(settings.owners, Owners.parse) if settings.owners is not None else None,
        )


class Guard:
    """Users, owners and what goes on under their rule; owned by the listener's site, from its start to its stop.

    Without users everybody is let in as :data:`~rtunnel.guard.gate.ANYBODY`; without owners everybody may do everything. Files are
    watched from the start.

    :param settings: of the listener.
    :param rights: what its files say.
    :param reactor: the clock of the watch and of the gate, and its pool of threads.
    :param in_thread: how passwords are verified; for tests.
    """

    def __init__(self, settings: ListenerSettings, rights: Rights, reactor: Any, *, in_thread: InThread | None = None) -> None:
        self._reactor = reactor
        self._in_thread = in_thread
        self._settings = settings
        self._rights = rights
        self._single: tuple[str, PasswordHash] | None = None
        self._gate: Gate | None = None
        self._asking = False
        self._leases: set[Lease] = set()
        self._watch = Watch((), self.reload, reactor)
        self._log = Logger()
        self._hash_single(settings.credentials)
        self._watch_files()
        self._put_in_force()

    # -- what the files and the settings say

    def stop(self) -> None:
        """Watch no more; refusals that wait are not sent any more."""
        self._watch.stop()
        if self._gate is not None:
            self._gate.close()

    def reload(self) -> None:
        """Read the files again, and end what is no longer allowed.

        :raises SettingsError: one of them cannot be had; nothing has changed then.
        """
        self.take(self._settings, Rights.read(self._settings))

    def take(self, settings: ListenerSettings, rights: Rights) -> None:
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
        self._watch = Watch(_files(self._settings), self.reload, self._reactor)
        self._watch.start()

    def _put_in_force(self) -> None:
        users = self._rights.users
        if self._single is not None:
            users = (users or Users({})).with_user(*self._single)
        self._asking = users is not None
        if users is None:
            return
        if self._gate is None:
            self._gate = Gate(users, reactor=self._reactor, in_thread=self._in_thread)
        self._gate.users = users
        self._log.info("{summary} may connect to {address}", summary=self.summary, address=str(self._settings.listen))

    def review(self) -> None:
        """End what is no longer allowed."""
        for lease in list(self._leases):
            reason = self._fault(lease)
            if reason is not None:
                self._log.info(
                    "closing what {user} at {peer} does with tunnel {tunnel}: {reason}",
                    user=lease.grant.user,
                    peer=lease.peer,
                    tunnel=str(lease.tunnel),
                    reason=reason,
                )
                lease.close(f"no longer allowed: {reason}")

    @property
    def summary(self) -> str:
        """How many users and rules there are, for the log; ``""`` when nobody is asked."""
        parts = []
        if self._gate is not None and self._asking:
            parts.append(_count(len(self._gate.users), "user"))
        if self._rights.owners is not None:
            parts.append(_count(len(self._rights.owners.rules), "owner rule"))
        return " and ".join(parts)

    # -- decisions

    def admit(self, credentials: tuple[str, str] | None, address: str) -> Deferred[Grant]:
        """Fire with who it is; fails with :class:`~rtunnel.guard.gate.Refused`.

        :param address: where it comes from, without port.
        """
        if self._gate is None or not self._asking:
            return succeed(ANYBODY)
        return self._gate.admit(credentials, address)

    def may(self, grant: Grant, action: Action, tunnel: UUID, hosts: Collection[str]) -> bool:
        """Whether somebody who was let in may do something: :meth:`rtunnel.routing.owners.Owners.may`."""
        owners = self._rights.owners
        return owners is None or owners.may(grant.user, action, tunnel, hosts)

    def hold(self, lease: Lease) -> None:
        """Something begins that was allowed."""
        self._leases.add(lease)

    def release(self, lease: Lease) -> None:
        """It has ended."""
        self._leases.discard(lease)

    def _fault(self, lease: Lease) -> str | None:
        """Why something is no longer allowed, None when it is."""
        grant = lease.grant
        if self._gate is not None and self._asking:
            now = self._gate.users.get(grant.user)
            if now is None:
                return "the user is gone"
            if now != grant.hash:
                return "the user has another password"
        if not self.may(grant, lease.action, lease.tunnel, lease.hosts()):
            return f"the owners no longer allow the user to {lease.action} it"
        return None


def _files(settings: ListenerSettings) -> tuple[str, ...]:
    return tuple(path for path in (settings.users, settings.owners) if path is not None)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")
