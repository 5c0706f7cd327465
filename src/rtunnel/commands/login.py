"""``rtunnel login``: keeps what an invitation says as a profile, once the server has let its user in."""

from __future__ import annotations

import argparse
import getpass
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from tempfile import TemporaryDirectory
from typing import Any

import attrs

from rtunnel.asking.question import AskRefused, ask
from rtunnel.cli.arguments import Parser
from rtunnel.cli.exit_status import CommandError, ExitStatus
from rtunnel.profiles.choosing import OPTION
from rtunnel.profiles.invitation import MAX_LINE, Invitation, InvitationError, read_certificates
from rtunnel.profiles.profile import Profile, load_profile, profile_text
from rtunnel.profiles.store import ProfileStore
from rtunnel.roles.client import server_connection
from rtunnel.settings import ServerConnectionSettings, SettingsError
from rtunnel.wire.control import Allowed, QueryRights

__all__ = ["main", "make_parser"]

_EPILOG = """\
An invitation is the line that "rtunnel invite" printed at the server. It holds a password. Without LINE, or with "-", it is
asked for on the terminal, or read from standard input: then it stands neither in the history of the shell nor among the
processes of this machine.

The server is asked whether it lets the user in; only then is the profile kept, in ~/.config/rtunnel/profiles (or below
XDG_CONFIG_HOME), readable by its user only. An invitation for the same host replaces it: the keys that were added stay.

examples:
  rtunnel login
  rtunnel login --name shop-test < invitation
  rtunnel login --offline                            without asking the server

The exit status is 0 when the profile was kept, else 1.
"""

RIGHTS_TIMEOUT = 5.0
"""Seconds for an answer that older servers do not give."""


async def main(argv: Sequence[str], reactor: Any) -> int:
    """Keep a profile; returns the exit status."""
    arguments = make_parser().parse_args(argv)
    store = ProfileStore(os.environ)
    try:
        invitation = _invitation(arguments)
        before = _before(store, invitation)
        note = "" if arguments.offline else await _verify(invitation, before, reactor)
        _keep(store, invitation, before)
    except InvitationError as error:
        raise CommandError(str(error)) from None
    except SettingsError as error:
        raise CommandError(str(error)) from None
    for line in _said(store, invitation, arguments, note):
        print(line)
    if arguments.line not in (None, "-"):
        print("the invitation is in the history of this shell now: remove it there, and next time leave it out", file=sys.stderr)
    return ExitStatus.OK


def make_parser() -> Parser:
    """Its arguments."""
    parser = Parser("login", description="Keeps what an invitation says as a profile.", epilog=_EPILOG)
    parser.add_argument("line", nargs="?", metavar="LINE", help="the invitation; without it, it is asked for")
    parser.add_argument("--name", help="name of the profile (default: the one in the invitation)")
    parser.add_argument("--ca-file", metavar="FILE", help="CA of the server, in PEM, in place of the one in the invitation")
    parser.add_argument("--offline", action="store_true", help="do not ask the server whether it lets the user in")
    return parser


# -- the invitation


def _invitation(arguments: argparse.Namespace) -> Invitation:
    """The invitation, with what the command line says of it.

    :raises InvitationError: it is none.
    :raises SettingsError: the CA cannot be read.
    """
    given = arguments.line
    invitation = Invitation.read(_typed() if given in (None, "-") else given)
    if arguments.name is not None:
        invitation = attrs.evolve(invitation, name=arguments.name)
    if arguments.ca_file is not None:
        invitation = attrs.evolve(invitation, ca=read_certificates(arguments.ca_file))
    return invitation


def _typed() -> str:
    if not sys.stdin.isatty():
        # as long as the longest, and wrapped by a mail program
        return sys.stdin.read(2 * MAX_LINE)
    # the reactor has taken Ctrl-C, and does not run while this waits
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return getpass.getpass("Invitation (it is not shown): ")
    except (KeyboardInterrupt, EOFError):
        print(file=sys.stderr)
        raise CommandError("no invitation was given; nothing was kept", ExitStatus.INTERRUPTED) from None
    finally:
        signal.signal(signal.SIGINT, handler)


# -- the profile


def _before(store: ProfileStore, invitation: Invitation) -> str:
    """The text of the profile that is replaced; ``""`` if there is none.

    :raises SettingsError: it is for another host or server, or cannot be read.
    """
    if invitation.name not in store:
        return ""
    before = load_profile(store, invitation.name, "--name")
    new = _read(invitation, os.environ)
    if (before.host, before.layer["server"].value) != (new.host, new.layer["server"].value):
        hint = (
            f"is the name of a profile for {before.host} at {before.layer['server'].text}; choose another one for {new.host}, "
            f"or remove it: rtunnel logout {invitation.name}"
        )
        raise SettingsError("--name", invitation.name, hint)
    return store.read(invitation.name)


def _keep(store: ProfileStore, invitation: Invitation, before: str = "") -> None:
    ca = invitation.ca_text
    store.write(invitation.name, profile_text(invitation, store.ca_path(invitation.name).name if ca else None, before), ca)


def _read(invitation: Invitation, environ: Mapping[str, str]) -> Profile:
    """The profile of an invitation, which is not kept.

    :raises SettingsError: it is not valid.
    """
    with TemporaryDirectory() as folder:
        store = ProfileStore({**environ, "XDG_CONFIG_HOME": folder})
        _keep(store, invitation)
        return load_profile(store, invitation.name, "LINE")


async def _verify(invitation: Invitation, before: str, reactor: Any) -> str:
    """Ask the server whether it lets the user in; returns what it allows them, for people.

    :param before: the profile that is replaced, whose further keys may say how the server is reached.
    :raises CommandError: it does not, or cannot be reached.
    """
    with TemporaryDirectory() as folder:
        _keep(ProfileStore({"XDG_CONFIG_HOME": folder}), invitation, before)
        settings = _settings(invitation.name, folder, os.environ)
        try:
            listed, _ = await ask(settings, QueryRights(invitation.host), reactor, RIGHTS_TIMEOUT)
        except AskRefused:
            return "it does not tell what you may do there; it is older than this rtunnel"
        except CommandError as error:
            raise CommandError(f"{error}\n  nothing was kept; --offline keeps it without asking the server") from None
    actions = next((one.actions for one in listed if isinstance(one, Allowed)), "")
    if not actions:
        return f"it allows you nothing on {invitation.host}; ask its administrator for a line of permissions"
    return f"it allows you: {actions.replace(',', ', ')}"


def _settings(name: str, folder: str, environ: Mapping[str, str]) -> ServerConnectionSettings:
    """The settings of a profile, with the proxies of the environment and nothing else of it."""
    of_others = ("RTUNNEL_PROXY", "RTUNNEL_PROXY_FILE")
    around = {key: value for key, value in environ.items() if not key.startswith("RTUNNEL_") or key in of_others}
    return server_connection([(OPTION, "LINE", name)], {**around, "XDG_CONFIG_HOME": folder})


def _said(store: ProfileStore, invitation: Invitation, arguments: argparse.Namespace, note: str) -> list[str]:
    """What was done, and what can be done with it."""
    name = invitation.name
    user = f" as {invitation.user}" if invitation.user else ""
    asked = "the server was not asked" if arguments.offline else "the server lets you in"
    lines = [f"{invitation.host} at {invitation.server}{user}: {asked}"]
    if note:
        lines.append(note)
    return [
        *lines,
        f"kept as the profile {name}: {store.path(name)}",
        f"rtunnel doctor {name}; rtunnel who {name}; rtunnel dev {name} --target :3000 -- npm start",
    ]
