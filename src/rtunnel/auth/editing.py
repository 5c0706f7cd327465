"""Changes of a users file and of a permissions file; comments, empty lines and the lines of others stay as they are."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable
from contextlib import suppress

from rtunnel.auth.passwords import PasswordHash
from rtunnel.auth.users import Users
from rtunnel.routing.lines import LineError, lines_of
from rtunnel.routing.permissions import Permissions
from rtunnel.settings import SettingsError

__all__ = ["actions_of", "change_file", "has_user", "with_rule", "with_user", "without_rule", "without_user"]

NEW_MODE = 0o600
"""Of a file that did not exist."""


# -- texts


def has_user(text: str, name: str) -> bool:
    """Whether a users file has a user."""
    return _user_line(text, name) is not None


def with_user(text: str, name: str, hashed: PasswordHash) -> str:
    """A users file with a user, or with another password for one.

    :raises LineError: the file was not valid.
    """
    changed = _replaced(text, _user_line(text, name), f"{name}:{hashed.text}")
    Users.parse(changed)
    return changed


def without_user(text: str, name: str) -> str:
    """A users file without a user.

    :raises LineError: it would have no user any more, or was not valid; servers go on with what they had before such a file.
    """
    changed = _replaced(text, _user_line(text, name), None)
    Users.parse(changed)
    return changed


def with_rule(text: str, actions: str, user: str, things: str) -> str:
    """A permissions file with a rule, in place of one for the same user and the same tunnels or hosts.

    :raises LineError: the rule is not valid, or the file was not.
    """
    changed = _replaced(text, _rule_line(text, user, things), f"{actions}  {user}  {things}")
    Permissions.parse(changed)
    return changed


def actions_of(text: str, user: str, things: str) -> str:
    """What the rule for exactly this user, and exactly these tunnels or hosts, allows; ``""`` without one."""
    number = _rule_line(text, user, things)
    return "" if number is None else text.split("\n")[number - 1].split(maxsplit=1)[0]


def without_rule(text: str, user: str, things: str) -> str:
    """A permissions file without the rule for exactly this user, and exactly these tunnels or hosts."""
    return _replaced(text, _rule_line(text, user, things), None)


def _user_line(text: str, name: str) -> int | None:
    return next((number for number, line in lines_of(text) if line.partition(":")[0] == name), None)


def _rule_line(text: str, user: str, things: str) -> int | None:
    return next((number for number, line in lines_of(text) if line.split()[1:] == [user, things]), None)


def _replaced(text: str, number: int | None, line: str | None) -> str:
    """The text with another line, with one more at its end, or with one less.

    :param number: of the line; ``None`` for a new one.
    :param line: ``None`` to remove it.
    """
    lines = text.split("\n")
    if number is not None:
        lines[number - 1 : number] = [] if line is None else [line]
    elif line is not None:
        lines = [*(lines if lines[-1] else lines[:-1]), line, ""]
    return "\n".join(lines)


# -- files


def change_file(path: str, change: Callable[[str], str]) -> None:
    """Change a file at once: whoever reads it sees all of the old text or all of the new one. Two changes wait for each other.

    Mode and owner stay. What a symbolic link leads to is changed.

    :param change: makes the new text of the old one, which is empty if there is no file; raises
        :class:`~rtunnel.routing.lines.LineError`.
    :raises SettingsError: the file cannot be read or written, or is not valid.
    """
    import fcntl  # late: a server does not run where it is missing

    path = os.path.realpath(path)
    try:
        folder = os.open(os.path.dirname(path), os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            _replace(path, change)
        finally:
            os.close(folder)
    except OSError as error:
        raise SettingsError(path, None, f"cannot be changed: {error.strerror or error}") from None
    except LineError as error:
        raise SettingsError(f"{path}:{error.line}", None, error.hint) from None
    except UnicodeDecodeError:
        raise SettingsError(path, None, "is not text in UTF-8") from None


def _replace(path: str, change: Callable[[str], str]) -> None:
    try:
        with open(path, encoding="utf-8", newline="") as file:
            status = os.fstat(file.fileno())
            before = file.read()
    except FileNotFoundError:
        status, before = None, ""
    after = change(before)
    if after == before:
        return
    descriptor, temporary = tempfile.mkstemp(prefix=".rtunnel-", dir=os.path.dirname(path))
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
            if status is not None:
                # who is not root cannot give it away, and need not: then it was theirs
                with suppress(PermissionError):
                    os.fchown(descriptor, status.st_uid, status.st_gid)
            os.fchmod(descriptor, NEW_MODE if status is None else stat.S_IMODE(status.st_mode))
            file.write(after)
            file.flush()
            os.fsync(descriptor)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
