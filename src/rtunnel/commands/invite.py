"""``rtunnel invite``: an invitation for a developer, and what the server has to know of them; at the machine of the server."""

from __future__ import annotations

import argparse
import os
import re
import secrets
import sys
from collections.abc import Sequence
from functools import partial
from uuid import UUID

import attrs
from twisted.internet.task import Clock

from rtunnel.auth.editing import actions_of, change_file, has_user, with_rule, with_user, without_rule, without_user
from rtunnel.auth.passwords import PasswordHash, hash_password
from rtunnel.auth.users import check_name
from rtunnel.cli.arguments import Parser, add_options
from rtunnel.cli.exit_status import CommandError, ExitStatus
from rtunnel.ops.start import StartError
from rtunnel.options.kinds import AUTH_FILE
from rtunnel.options.layers import Layer
from rtunnel.options.table import SERVER, find
from rtunnel.profiles.invitation import Invitation, InvitationError, read_certificates
from rtunnel.profiles.store import is_name
from rtunnel.roles import SERVER_ROLE
from rtunnel.routing.ingress import normalise_host
from rtunnel.routing.lines import LineError
from rtunnel.routing.permissions import OwnerRule
from rtunnel.settings import Credentials, SettingsError

__all__ = ["main", "make_parser"]

_EPILOG = """\
The invitation is one line on standard output. It holds a password: give it to its user alone, over a channel that you trust. The
user runs "rtunnel login", which asks for it. A new invitation for the same user replaces the password of the one before, which
does not work any more as soon as the server has read the file again; --withdraw removes the user.

examples:
  rtunnel invite shop.example.org --user bob --config server.yaml                     what to add to users and permissions
  rtunnel invite shop.example.org --user bob --config server.yaml --write             adds it
  rtunnel invite shop.example.org --user bob --config server.yaml --write --allow intercept,env,files,reach
  rtunnel invite shop.example.org --user bob --config server.yaml --withdraw
  rtunnel invite shop.example.org --auth-file FILE --route shop.example.org=UUID      for a user whom the server knows
"""
_OPTIONS = ("config", "route", "routes-file", "path", "users", "permissions", "L")
ALLOWED = "intercept"
"""What a new user may, if nothing is said."""
PASSWORD_BYTES = 24
"""Random bytes of a password."""


def main(argv: Sequence[str]) -> int:
    """Print an invitation, or withdraw one; returns the exit status."""
    arguments = make_parser().parse_args(argv)
    try:
        known = None if arguments.auth_file is None else _known(arguments)
        check_name(arguments.user)
        place = _place(arguments)
        if known is not None:
            _print(_invitation(place, arguments, known.password).line, known.user)
        elif arguments.withdraw:
            _withdraw(place, arguments.user)
        else:
            _invite(place, arguments)
    except (SettingsError, StartError) as error:
        raise CommandError(str(error)) from None
    except InvitationError as error:
        raise CommandError(f"no invitation can be made: {error}") from None
    except ValueError as error:
        raise CommandError(f"--user {error}") from None
    return ExitStatus.OK


def make_parser() -> Parser:
    """Its arguments."""
    parser = Parser("invite", description="Prints an invitation for a developer to the tunnel of a host.", epilog=_EPILOG)
    add = parser.add_argument
    add("host", metavar="HOST", help="the host that the user works on: one of the server's rules")
    whom = parser.add_mutually_exclusive_group(required=True)
    whom.add_argument("--user", metavar="NAME", help="the name of the user")
    whom.add_argument(
        "--auth-file",
        metavar="FILE",
        help="user:password that the server knows already, as after rtunnel inject",
    )
    add(
        "--allow",
        default="",
        metavar="ACTION[,...]",
        help=f"what the permissions file allows them (default: as before, else {ALLOWED})",
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--write", action="store_true", help="change the files of users and permissions; else what to add is printed")
    what.add_argument("--withdraw", action="store_true", help="remove the user, and their line for this host, from these files")
    there = parser.add_argument_group("how the developer's machine reaches the server")
    add = there.add_argument
    add("--server", default="", metavar="URL", help="as for rtunnel client --server (default: wss://HOST and the server's --path)")
    add("--host-header", default="", metavar="HOST", help="as for rtunnel client")
    add("--tls-server-name", default="", metavar="HOST", help="as for rtunnel client")
    add("--ca-file", metavar="FILE", help="CA of the server or of its Ingress, in PEM, if it is none that systems know")
    add("--name", default="", help="name of the profile there (default: the first part of HOST)")
    add_options(parser.add_argument_group("the settings of the server"), (find(SERVER, name) for name in _OPTIONS))
    return parser


# -- what the server knows


@attrs.frozen
class Place:
    """Where a host is in the settings of a server.

    :ivar tunnel: of the host.
    :ivar things: the hosts of the tunnel as a line of permissions has to name them.
    :ivar path: of the WebSocket.
    :ivar users: the users file, if there is one.
    :ivar permissions: the permissions file, if there is one.
    """

    tunnel: UUID
    things: str
    path: str
    users: str | None
    permissions: str | None


def _place(arguments: argparse.Namespace) -> Place:
    """Find a host in the settings.

    :raises SettingsError: they are invalid, or have no such host.
    :raises StartError: the rules cannot be read.
    """
    layers = SERVER_ROLE.merge(arguments.raw or (), os.environ).items
    # clients do not come where there are entrypoints alone
    for layer in sorted(layers, key=lambda layer: "listen" not in layer):
        place = _place_in(layer, normalise_host(arguments.host))
        if place is not None:
            return place
    hint = "no rule of the server leads it to a tunnel; give its settings: --config FILE, or --route HOST=UUID"
    raise SettingsError("HOST", arguments.host, hint)


def _place_in(layer: Layer, host: str) -> Place | None:
    # late: it is part of the server
    from rtunnel.server.routes import Routes

    def given(field: str) -> str | None:
        return layer[field].value if field in layer else None

    rules = layer["rules"].value if "rules" in layer else ()
    table = Routes(rules, given("routes_file"), reactor=Clock()).table
    rule = table.lookup(host)
    if rule is None:
        return None
    things = ",".join(table.patterns(rule.tunnel))
    return Place(rule.tunnel, things, given("path") or "/ws", given("users"), given("permissions"))


# -- an invitation


def _invite(place: Place, arguments: argparse.Namespace) -> None:
    user, password = arguments.user, secrets.token_urlsafe(PASSWORD_BYTES)
    rule = f"{arguments.allow or ALLOWED}  {arguments.user}  {place.things}"
    try:
        parsed = OwnerRule.parse(rule)
    except ValueError as error:
        raise SettingsError("--allow", arguments.allow, str(error)) from None
    line = _invitation(place, arguments, password).line
    hashed = hash_password(password)
    if arguments.write:
        _write(place, arguments, hashed)
    else:
        _say(f"add to the users file (--users), in place of a line that begins with {user}:", f"  {user}:{hashed.text}")
        _say("and to the permissions file (--permissions), if there is one:", f"  {rule}")
    if place.permissions is None:
        explicit = sorted(action for action in parsed.actions if action.explicit)
        _say(f"without a permissions file, {user} may join and visit every tunnel of the listener")
        if explicit:
            _say(f"{', '.join(explicit)}: nobody may without a permissions file")
    _print(line, user)


def _print(line: str, user: str) -> None:
    _say(f"the line is a secret: it holds the password of {user}, and whoever has it can log in with it (rtunnel login)")
    sys.stderr.flush()
    print(line)


def _known(arguments: argparse.Namespace) -> Credentials:
    """The user and password of a file; the user is that of the other arguments as well.

    :raises SettingsError: they cannot be had, or something else is wanted of a user whom the server knows.
    """
    if arguments.write or arguments.withdraw:
        raise SettingsError("--auth-file", None, "is for a user whom the server knows; with --write and --withdraw give --user")
    try:
        known: Credentials = AUTH_FILE.parse(arguments.auth_file)
    except ValueError as error:
        raise SettingsError("--auth-file", arguments.auth_file, str(error)) from None
    arguments.user = known.user
    return known


def _invitation(place: Place, arguments: argparse.Namespace, password: str) -> Invitation:
    host = normalise_host(arguments.host)
    return Invitation(
        name=arguments.name or _name_of(host),
        host=host,
        server=arguments.server or f"wss://{host}{place.path}",
        tunnel=place.tunnel,
        user=arguments.user,
        password=password,
        host_header=arguments.host_header,
        tls_server_name=arguments.tls_server_name,
        ca=read_certificates(arguments.ca_file) if arguments.ca_file is not None else (),
    )


def _name_of(host: str) -> str:
    """The name of a profile for a host."""
    label = host.removeprefix("*.").partition(".")[0]
    name = re.sub(r"[^A-Za-z0-9_-]", "-", host if label.isdecimal() else label).strip("-")[:64]
    return name if is_name(name) else "tunnel"


def _write(place: Place, arguments: argparse.Namespace, hashed: PasswordHash) -> None:
    user = arguments.user
    users = _users(place)
    known, allowed = False, ""

    def change(text: str) -> str:
        nonlocal known
        known = has_user(text, user)
        return with_user(text, user, hashed)

    def allow(text: str) -> str:
        nonlocal allowed
        allowed = arguments.allow or actions_of(text, user, place.things) or ALLOWED
        return with_rule(text, allowed, user, place.things)

    if place.permissions is not None:
        change_file(place.permissions, allow)
        _say(f"{place.permissions}: {user} may {allowed} {place.things}")
    change_file(users, change)
    _say(f"{users}: {user} has another password now; the one before works no more" if known else f"{users}: added {user}")


# -- a withdrawal


def _withdraw(place: Place, user: str) -> None:
    users = _users(place)
    alone = False

    def change(text: str) -> str:
        nonlocal alone
        if not has_user(text, user):
            raise SettingsError(users, None, f"has no user {user}; there is nothing to withdraw")
        try:
            return without_user(text, user)
        except LineError:
            # a server goes on with what it had before an empty file
            alone = True
            return with_user(text, user, hash_password(secrets.token_urlsafe(PASSWORD_BYTES)))

    change_file(users, change)
    if alone:
        _say(f"{users}: {user} was the only user, and has a password now that nobody knows, since no server takes an empty file")
    else:
        _say(f"{users}: removed {user}")
    if place.permissions is not None:
        change_file(place.permissions, partial(without_rule, user=user, things=place.things))
        _say(f"{place.permissions}: no line for {user} and {place.things} any more; other lines are left alone")
    _say("the server reads these files within seconds, and closes the links of the user")


def _users(place: Place) -> str:
    """The users file, which is needed to change it.

    :raises SettingsError: there is none.
    """
    if place.users is None:
        raise SettingsError("--users", None, "missing; the settings of the server name no users file: give it, or no --write")
    return place.users


def _say(*lines: str) -> None:
    print(*lines, sep="\n", file=sys.stderr)
