"""Who may do what at a tunnel listener.

- :mod:`rtunnel.auth.passwords`: how passwords are kept
- :mod:`rtunnel.auth.users`: the users, from a file of ``name:hash`` lines
- :mod:`rtunnel.auth.throttle`: slows down whoever guesses passwords
- :mod:`rtunnel.auth.authenticator`: tells who a client is
- :mod:`rtunnel.auth.files`: reads files, and again when they change
- :mod:`rtunnel.auth.access_control`: all of it for one listener, with the permissions (:mod:`rtunnel.routing.permissions`)
- :mod:`rtunnel.auth.command`: ``rtunnel user``
"""

from __future__ import annotations
