"""``rtunnel user``: a line for a users file."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Sequence

from rtunnel.auth.passwords import hash_password
from rtunnel.auth.users import check_name
from rtunnel.cli.arguments import Parser
from rtunnel.cli.exit_status import CommandError, ExitStatus
from rtunnel.settings import Credentials, SettingsError

__all__ = ["main", "make_parser"]

_EPILOG = """\
The password is read from the terminal, else from the first line of standard input. It is not an argument, because command
lines are visible to every user of a machine.

examples:
  rtunnel user alice >> users                        ask for a password, append the line to the file "users"
  openssl rand -base64 24 | tee alice.password | rtunnel user alice >> users
  rtunnel server --users users ...                   accept only these users; the file is read again when it changes
"""


def main(argv: Sequence[str]) -> int:
    """Print one line, ``NAME:HASH``; returns the exit status."""
    name: str = make_parser().parse_args(argv).name
    try:
        check_name(name)
        password = _password()
        Credentials(name, password)
    except SettingsError as error:
        raise CommandError(f"the {error.key} {error.hint}") from None
    except ValueError as error:
        raise CommandError(str(error)) from None
    print(f"{name}:{hash_password(password).text}")
    return ExitStatus.OK


def make_parser() -> Parser:
    """Its arguments."""
    description = "Prints a line for a users file: the name, and an Argon2id hash of the password."
    parser = Parser("user", description=description, epilog=_EPILOG)
    parser.add_argument("name", metavar="NAME", help="the name of the user")
    return parser


def _password() -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    password = getpass.getpass("Password: ")
    if getpass.getpass("Repeat the password: ") != password:
        raise CommandError("the passwords differ; run the command again")
    return password
