"""What ``rtunnel --help`` prints."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

from rtunnel.cli.command import Command
from rtunnel.cli.service_help import EXAMPLE_ID

__all__ = ["command_help"]

_COMMAND = """\
Usage: rtunnel COMMAND [options]
  (also: python -m rtunnel COMMAND; twistd -n rtunnel server, client or visitor)

Brings the requests for a service in a cluster to a laptop, all or a share of
them, through the ordinary Ingress.

Commands:
{commands}
Example, in three terminals, and in a fourth
"curl -H 'Host: nginx.local' http://127.0.0.1:8080/":
  python3 -m http.server 8000
  rtunnel server --listen :8421 --entrypoint :8080 \\
    --route nginx.local={uuid}
  rtunnel client --server 127.0.0.1:8421 --target :8000 \\
    --tunnel {uuid}

Options:
  --help      show this help; each command has its own: "rtunnel server --help"
  --version   show the version
"""

_REACTOR = """\
  --reactor NAME
              the Twisted reactor to run on; must stand before the command
              (default: rtunnel where there is epoll)
"""


def command_help(commands: Iterable[Command], *, reactor: bool = False) -> str:
    """The help of ``rtunnel`` itself.

    :param reactor: whether ``--reactor`` can be given: with the ``rtunnel`` command, but not with twistd or twist.
    """
    lines = "".join(map(_line, commands))
    return _COMMAND.format(commands=lines, uuid=EXAMPLE_ID) + (_REACTOR if reactor else "")


def _line(command: Command) -> str:
    """A command, wrapped at 80 columns."""
    return textwrap.fill(command.summary, 80, initial_indent=f"  {command.name:<12}", subsequent_indent=" " * 14) + "\n"
