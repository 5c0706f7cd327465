"""What a process can be, a server, a client or a visitor, and how its settings are made.

The options of a role come from four places: a configuration file, the environment, the command line and gost's URLs.

- :mod:`rtunnel.roles.role`: what the three have in common
- :mod:`rtunnel.roles.merging`: options from all places merged, before they are validated
- :mod:`rtunnel.roles.server`: the settings of a server
- :mod:`rtunnel.roles.client`: the settings of a client, and of a visitor
- :mod:`rtunnel.roles.dev`: the settings of a client that runs for one command
- :mod:`rtunnel.roles.exposure`: what their settings leave open
- :mod:`rtunnel.roles.service`: what the service of each of them can do
"""

from __future__ import annotations

from typing import Any

from rtunnel.roles.client import CLIENT_ROLE, VISITOR_ROLE
from rtunnel.roles.dev import DEV_ROLE
from rtunnel.roles.role import Resolved, Role
from rtunnel.roles.server import SERVER_ROLE

__all__ = ["CLIENT_ROLE", "DEV_ROLE", "ROLES", "SERVER_ROLE", "VISITOR_ROLE", "Resolved", "Role"]

ROLES: tuple[Role[Any], ...] = (SERVER_ROLE, CLIENT_ROLE, VISITOR_ROLE)
"""Of the processes that serve."""
