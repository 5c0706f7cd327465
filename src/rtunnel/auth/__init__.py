"""Authentication and access control of a tunnel listener.

- :mod:`rtunnel.auth.passwords`: password hashes
- :mod:`rtunnel.auth.users`: the users, from a file of ``name:hash`` lines
- :mod:`rtunnel.auth.throttle`: slows down password guessing
- :mod:`rtunnel.auth.authenticator`: verifies user names and passwords
- :mod:`rtunnel.auth.files`: reads files
- :mod:`rtunnel.auth.access_control`: all of it for one listener, with permissions (:mod:`rtunnel.routing.permissions`)
"""

from __future__ import annotations
