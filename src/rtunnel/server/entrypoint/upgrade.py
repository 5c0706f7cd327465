"""Upgraded connections: after the 101 of the target, both sides are spliced."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from attrs import frozen

from rtunnel.server.entrypoint.entrypoint import Entrypoint
from rtunnel.server.observers import ExchangeObserver
from rtunnel.tunnel.splice import Splice, SpliceOutcome

__all__ = ["Side", "splice_upgraded"]


@frozen
class Side:
    """One side of the connection.

    :ivar transport: the visitor's connection, or the stream of the connector.
    :ivar early: data received from it after the request, or after the 101.
    """

    transport: Any
    early: bytes


def splice_upgraded(entrypoint: Entrypoint, observers: Iterable[ExchangeObserver], visitor: Side, target: Side) -> None:
    """Splice both sides; the entrypoint owns the splice until both are closed.

    :param observers: called at the end.
    """

    def ended(outcome: SpliceOutcome, up: int, down: int) -> None:
        entrypoint.splices.discard(splice)
        entrypoint.stats.bytes_in += up
        entrypoint.stats.bytes_out += down
        for observer in observers:
            observer.upgrade_ended(up + len(visitor.early), down)

    splice = Splice(ended)
    entrypoint.splices.add(splice)
    target.transport.unregisterProducer()
    splice.near.attach(visitor.transport)
    splice.far.attach(target.transport)
    # already counted when it was received
    splice.near.early = [visitor.early] if visitor.early else []
    if target.early:
        splice.far.dataReceived(target.early)
    target.transport.resumeProducing()
    splice.join()
