"""What ``--help`` says: an example first, then the plain options, then the URLs of gost that mean the same."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

from rtunnel.options.table import CLIENT, SERVER, VISITOR, Option, default

__all__ = ["client_help", "command_help", "server_help", "visitor_help"]

_UUID = "10bc451e-59dc-4c70-999e-91a30813ac78"
_WIDTH = 100
_COLUMN = 30

_COMMAND = """\
Usage: rtunnel COMMAND [options]      (the same: twistd -n rtunnel COMMAND, python -m rtunnel COMMAND)

Brings the requests for a service in a cluster to a laptop, or a part of them, through the ordinary Ingress.

Commands:
  server      accept clients and visitors, and share the visitors' requests among the clients
  client      join a tunnel of a server and pass its requests to a local service
  visitor     open a local port that leads to a private tunnel, such as one for SSH
  status      show what a running server or client does, from its --admin address
  check       say what is wrong with a configuration file, or what it does
  convert     make a configuration file of options and URLs, or of a file of gost
  schema      the JSON Schema of a configuration file, for editors
  user        make a line of a users file, for a server that lets in only those it knows
  demo        see the whole scenario on this machine, nothing else needed

Example, in three terminals (and "curl -H 'Host: nginx.local' http://127.0.0.1:8080/" in a fourth):
  python3 -m http.server 8000
  rtunnel server --listen :8421 --entrypoint :8080 --route nginx.local={uuid}
  rtunnel client --server 127.0.0.1:8421 --tunnel {uuid} --target :8000

Options:
  --help      this text; "rtunnel server --help", "rtunnel client --help" and "rtunnel visitor --help" list all the rest
  --version   the version
"""

_RUNNER = """\
  --reactor NAME
              the reactor of Twisted to run on, before the command (default: rtunnel where there is epoll)
"""

_SERVER_HEAD = """\
Usage: rtunnel server [options]      (the same: twistd -n rtunnel server [options])

Accepts clients on one port and visitors on another, and passes each request to one of the clients of its tunnel.

Example: clients attach at ws://HOST:8421/proxy, visitors of nginx.local arrive at port 80
  rtunnel server --listen :8421 --path /proxy --entrypoint :80 --route nginx.local={uuid}
"""

_SERVER_GOST = """\
The same as a URL of gost:
  rtunnel server -L "tunnel+ws://:8421?entrypoint=:80&tunnel=nginx.local:{uuid}&path=/proxy"
"""

_CLIENT_HEAD = """\
Usage: rtunnel client [options]      (the same: twistd -n rtunnel client [options])

Joins a tunnel of a server and passes its requests to a local service. Comes back after any loss.

Example: the service on port 80 of this machine gets half of the requests, beside another client with weight 1
  rtunnel client --server ws://192.168.1.1:80/proxy --host-header nginx.local --tunnel {uuid} --weight 1 --target :80
"""

_CLIENT_GOST = """\
The same as URLs of gost:
  rtunnel client -L rtcp://:0/:80 \\
    -F "tunnel+ws://192.168.1.1:80?tunnel.id={uuid}&tunnel.weight=1&path=/proxy&host=nginx.local"
"""

_VISITOR_HEAD = """\
Usage: rtunnel visitor [options]      (the same: twistd -n rtunnel visitor [options])

Opens a local port; each connection to it goes through the server to a connector of a private tunnel, and from there to its target.

Example: port 2222 of this machine leads to the SSH server of the client that joined the tunnel (ssh -p 2222 127.0.0.1).
The server has --route 'ssh.svc=${uuid}', the other client --target :22
  rtunnel visitor --server ws://192.168.1.1:80/proxy --tunnel {uuid} --listen 127.0.0.1:2222 --to ssh.svc
"""

_VISITOR_GOST = """\
The same as URLs of gost, also on "rtunnel client" (where gost has no address, it means every interface):
  rtunnel visitor -L tcp://127.0.0.1:2222/ssh.svc \\
    -F "tunnel+ws://192.168.1.1:80?tunnel.id={uuid}&path=/proxy"
"""

_NOTES = """\
Times are like 15s, 1m30s, 250ms or a bare number of seconds; sizes like 64KiB or a bare number of bytes.
Each option can stand in the environment too: --path as RTUNNEL_PATH (lists with commas); the command line wins.
"""


def command_help(runner: bool = False) -> str:
    """The help of ``rtunnel`` itself.

    :param runner: whether the ``rtunnel`` command asks, which chooses the reactor; else twistd or twist.
    """
    return _COMMAND.format(uuid=_UUID) + (_RUNNER if runner else "")


def server_help() -> str:
    """The help of ``rtunnel server``."""
    return _help(_SERVER_HEAD, SERVER, _SERVER_GOST)


def client_help() -> str:
    """The help of ``rtunnel client``."""
    return _help(_CLIENT_HEAD, CLIENT, _CLIENT_GOST)


def visitor_help() -> str:
    """The help of ``rtunnel visitor``."""
    return _help(_VISITOR_HEAD, VISITOR, _VISITOR_GOST)


def _help(head: str, rows: tuple[Option, ...], gost: str) -> str:
    plain = [option for option in rows if option.field and not option.secret]
    secret = [option for option in rows if option.secret]
    parts = [
        head.format(uuid=_UUID),
        "Options:\n" + _lines(plain) + _line("--help", "this text") + _line("--version", "the version"),
    ]
    if secret:
        parts.append("From the environment only:\n" + "".join(_line(option.variable, option.help) for option in secret))
    parts += [gost.format(uuid=_UUID) + _lines(option for option in rows if not option.field), _NOTES]
    return "\n".join(parts)


def _lines(options: Iterable[Option]) -> str:
    return "".join(_line(_usage(option), _words(option)) for option in options)


def _usage(option: Option) -> str:
    short = f", -{option.short}" if option.short else ""
    return f"{option.flag}{short} {option.kind.metavar}".strip()


def _words(option: Option) -> str:
    value = default(option)
    return f"{option.help} (default: {value})" if value is not None and option.kind.metavar else option.help


def _line(left: str, right: str) -> str:
    indent = " " * (_COLUMN + 2)
    text = textwrap.fill(right, _WIDTH, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)
    if len(left) > _COLUMN - 1:
        return f"  {left}\n{text}\n"
    return f"  {left:<{_COLUMN}}{text[_COLUMN + 2 :]}\n"
