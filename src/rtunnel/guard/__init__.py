"""Who may do what at a tunnel listener.

- :mod:`rtunnel.guard.passwords`: how passwords are kept
- :mod:`rtunnel.guard.users`: the users, from a file of ``name:hash`` lines
- :mod:`rtunnel.guard.brake`: slows down whoever guesses passwords
- :mod:`rtunnel.guard.gate`: tells who a client is
- :mod:`rtunnel.guard.files`: reads files, and again when they change
- :mod:`rtunnel.guard.guard`: all of it for one listener, with the owners (:mod:`rtunnel.routing.owners`)
- :mod:`rtunnel.guard.command`: ``rtunnel user``
"""

from __future__ import annotations
