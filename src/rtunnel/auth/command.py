"""``rtunnel user NAME``: makes a line of a users file."""

from __future__ import annotations

import argparse
import getpass
import sys
from typing import NoReturn

from rtunnel.auth.passwords import hash_password
from rtunnel.auth.users import check_name
from rtunnel.settings import Credentials, SettingsError

__all__ = ["main"]

EPILOG = """\
The password is asked for, or read from the first line of standard input; never give it as an argument, which everybody can read.

examples:
  rtunnel user alice >> users                        ask for a password, add the line to the file "users"
  openssl rand -base64 24 | tee alice.password | rtunnel user alice >> users
  rtunnel server --users users ...                   let only these users connect; the file is read again when it changes
"""


class _Parser(argparse.ArgumentParser):
    """Wrong arguments end with status 1 and one line, as everywhere in rtunnel."""

    def error(self, message: str) -> NoReturn:
        self.exit(1, f"{self.prog}: {message}; see {self.prog} --help\n")


def main(argv: list[str]) -> int:
    """Print one line, ``NAME:HASH``.

    :param argv: the arguments after ``user``.
    :returns: the exit status.
    :raises SystemExit: for ``--help`` (0) and for arguments that are wrong (1).
    """
    parser = _Parser(
        prog="rtunnel user",
        description="Make a line of a users file: the name and an Argon2id hash of the password.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("name", metavar="NAME", help="the user's name")
    name: str = parser.parse_args(argv).name
    try:
        check_name(name)
        password = _password()
        Credentials(name, password)
    except SettingsError as error:
        parser.exit(1, f"{parser.prog}: the {error.key} {error.hint}\n")
    except ValueError as error:
        parser.exit(1, f"{parser.prog}: {error}\n")
    print(f"{name}:{hash_password(password).text}")
    return 0


def _password() -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    password = getpass.getpass("Password: ")
    if getpass.getpass("The same again: ") != password:
        raise ValueError("the two passwords are not the same; begin again")
    return password
