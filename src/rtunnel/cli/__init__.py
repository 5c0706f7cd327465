"""What the commands in :mod:`rtunnel.commands` share.

- :mod:`rtunnel.cli.command`: a row in the table of commands, and how a command of each kind runs
- :mod:`rtunnel.cli.exit_status`: how a command ends
- :mod:`rtunnel.cli.arguments`: the arguments of commands that end by themselves
- :mod:`rtunnel.cli.service_options`: the options of commands that run under twistd
- :mod:`rtunnel.cli.service_help`: their ``--help``
- :mod:`rtunnel.cli.help`: ``rtunnel --help``
- :mod:`rtunnel.cli.admin`: asks a running process, at its admin endpoint
- :mod:`rtunnel.cli.on_reactor`: a coroutine on the reactor, until it ends or is interrupted
"""

from __future__ import annotations
