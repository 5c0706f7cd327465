"""Wrong passwords count at all servers: whoever guesses is as slow at several as at one.

Each server tells the others of those that it was given, in one line: ``wrong``, the address, a digest, and the name of the user.
Nobody but the server itself can make anything of the digest. Nothing is kept in the registry: who starts, starts without counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final
from uuid import UUID

from rtunnel.auth.access_control import AccessControl
from rtunnel.auth.authenticator import WrongPassword
from rtunnel.registry.interfaces import SharedRegistry

__all__ = ["SharedGuesses"]

_MARK: Final = b"wrong "
_DIGEST: Final = 8
"""Bytes of a digest that are told: enough to tell the few passwords apart that are tried at one time."""


class SharedGuesses:
    """Tells and hears of wrong passwords; owned by what a server shares with others.

    :param shared: carries the messages.
    :param controls: returns the access control of each listener of this server.
    """

    def __init__(self, shared: SharedRegistry, controls: Callable[[], Iterable[AccessControl]]) -> None:
        self._shared = shared
        self._controls = controls

    def wrong(self, wrong: WrongPassword) -> None:
        """Tell the others of one that was tried here."""
        if not self._shared.available:
            return
        message = b"%b%b %b %b" % (_MARK, wrong.address.encode(), wrong.digest[:_DIGEST].hex().encode(), wrong.name.encode())
        for server in self._shared.servers:
            self._shared.tell(server.id, message)

    def told(self, sender: UUID, message: bytes) -> bool:
        """Count one that was tried at another server.

        :returns: whether this is what the message says.
        """
        if not message.startswith(_MARK):
            return False
        address, _, rest = message[len(_MARK) :].decode("utf-8", "replace").partition(" ")
        digest, _, name = rest.partition(" ")
        # at one server it is the same for the same password; those of two servers have nothing to do with each other
        wrong = WrongPassword(address, name, sender.bytes + digest.encode())
        for control in self._controls():
            control.wrong_elsewhere(wrong)
        return True
