"""IDs as they are shown.

A tunnel's ID is a secret: it is enough to join the tunnel and to visit it. So the log, errors, metrics, the status and the access
log show its first characters only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from uuid import UUID

__all__ = ["EXAMPLE", "EXAMPLES", "SHOWN", "describe_examples", "hide_ids", "is_id", "mask_ids", "short_id"]

SHOWN = 8
"""Characters of an ID that are shown: enough to tell tunnels apart and to search the log."""

EXAMPLE = UUID("10bc451e-59dc-4c70-999e-91a30813ac78")
"""The tunnel of nearly all examples."""
EXAMPLES = frozenset(
    (
        EXAMPLE,
        UUID("2f1c1d2e-0000-4a5b-8c9d-0123456789ab"),
        UUID("2f1c1d2e-7c57-4a5b-8c9d-0123456789ab"),
        UUID("3c6e0b8a-9c15-4224-8228-b9a98ca1531d"),
        UUID("59dc451e-10bc-4c70-999e-91a30813ac78"),
        UUID("5e0a54a2-63dc-4fd4-a30b-c7c3ed7b3c79"),
    )
)
"""Every ID in the documentation and in what is there to be copied; everybody who has read it knows them."""

# also what is almost an ID: errors repeat what was mistyped
_WITH_HYPHENS = re.compile(r"(?<![0-9a-z])([0-9a-f]{8})[0-9a-f]*(?:-[0-9a-f]+){2,}", re.ASCII | re.IGNORECASE)
_BARE = re.compile(r"(?<![0-9a-z])([0-9a-f]{8})[0-9a-f]{20,28}(?![0-9a-z])", re.ASCII | re.IGNORECASE)


_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE)


def is_id(text: str) -> bool:
    """Whether a text is an ID in the one form that is accepted."""
    return _ID.fullmatch(text) is not None


def short_id(whole: UUID) -> str:
    """Return the first :data:`SHOWN` characters of an ID."""
    # the same as the beginning of its text, in a fraction of the time
    return f"{whole.int >> (128 - 4 * SHOWN):0{SHOWN}x}"


def hide_ids(text: str) -> str:
    """Return a line of the log with every ID in it cut to its first characters; request IDs, which have no hyphens, stay."""
    return _WITH_HYPHENS.sub(r"\1", text)


def mask_ids(text: str) -> str:
    """Return what a user typed with every ID in it, mistyped ones included, cut to its first characters and an ellipsis."""
    return _BARE.sub(r"\1...", _WITH_HYPHENS.sub(r"\1...", text))


def describe_examples(ids: Iterable[UUID]) -> Iterator[str]:
    """Yield a line for IDs that are those of the examples, if there are any.

    :param ids: of tunnels that are used.
    """
    known = sorted({short_id(one) for one in EXAMPLES.intersection(ids)})
    if known:
        yield (
            f"in use is an ID of the examples ({', '.join(known)}), which protects nothing since everybody knows it; "
            "generate your own with uuidgen, for the server and its clients"
        )
