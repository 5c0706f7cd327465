"""What was found, and what it means for the exit status."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

import attrs

__all__ = ["Finding", "State", "failed", "limited", "ok", "worst"]


class State(StrEnum):
    """How it is."""

    OK = "ok"
    LIMITED = "limited"
    """It works, with limits that the text names."""
    FAILED = "failed"
    """It does not work."""


@attrs.frozen
class Finding:
    """One thing that was looked at.

    :ivar name: what.
    :ivar text: what was found, for people; on one line, without secrets.
    :ivar hint: what to do about it; ``""`` where nothing has to be done.
    """

    name: str
    state: State
    text: str
    hint: str = ""


def ok(name: str, text: str) -> Finding:
    """It is as it should be."""
    return Finding(name, State.OK, text)


def limited(name: str, text: str, hint: str = "") -> Finding:
    """It works, with limits."""
    return Finding(name, State.LIMITED, text, hint)


def failed(name: str, text: str, hint: str = "") -> Finding:
    """It does not work."""
    return Finding(name, State.FAILED, text, hint)


def worst(findings: Iterable[Finding]) -> State:
    """The worst state of some findings."""
    order = list(State)
    return max((finding.state for finding in findings), key=order.index, default=State.OK)
