"""``rtunnel status``: what a running server or client says of itself, as a table or as JSON.

- :mod:`rtunnel.status.ask`: gets the document from the admin address
- :mod:`rtunnel.status.table`: makes tables of it
- :mod:`rtunnel.status.command`: the command line

The document is described in docs/status.md; :mod:`rtunnel.ops.status` makes it.
"""

from __future__ import annotations

__all__ = ["main"]


def main(argv: list[str]) -> int:
    """Ask once, and print the answer.

    :param argv: the arguments after ``status``.
    :return: the exit status: 0 when the process is ready, 2 when it is not (joining, draining).
    :raises SystemExit: for ``--help`` (0); when nothing can be asked or the arguments are wrong (1).
    """
    from rtunnel.status.command import run

    return run(argv)
