"""``rtunnel dev``: the requests of a host come here, and a command gets what its pod has, until the command ends.

- :mod:`rtunnel.dev.arguments`: the command line, and the file of a project
- :mod:`rtunnel.dev.session`: the client and the command together, from their beginning to their end
- :mod:`rtunnel.dev.overview`: what there is to know meanwhile, as lines of text
- :mod:`rtunnel.dev.screen`: the same on a terminal, live
"""

from __future__ import annotations
