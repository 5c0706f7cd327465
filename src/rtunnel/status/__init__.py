"""The status of a process as its readers see it; docs/status.md describes the document, :mod:`rtunnel.ops.status` makes it.

- :mod:`rtunnel.status.document`: asks a process for it
- :mod:`rtunnel.status.tables`: shows it on a terminal
"""

from __future__ import annotations
