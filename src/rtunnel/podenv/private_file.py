"""Files with secrets."""

from __future__ import annotations

import os
import tempfile

__all__ = ["write_private"]


def write_private(path: str, data: bytes) -> None:
    """Write a file that only its user can read (0600), at once: a reader sees all of it, or what was there before.

    :raises OSError: it cannot be written.
    """
    descriptor, temporary = tempfile.mkstemp(prefix=".rtunnel-", dir=os.path.dirname(path) or ".")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
