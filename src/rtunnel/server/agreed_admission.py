"""Admission of clients that want some requests only, where several servers must not give the same to two of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from uuid import UUID

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from rtunnel.outcomes import RefusalReason
from rtunnel.registry.interfaces import RegistryUnavailable
from rtunnel.registry.records import ConnectorRecord
from rtunnel.server.intercept_admission import Intercept, InterceptRefused, Wanted, refused_as_taken
from rtunnel.server.shared_leases import SharedLeases
from rtunnel.wire.relay import Status
from rtunnel.wire.relay_intercepts import InterceptAnswer

__all__ = ["agree_on_intercept"]


def agree_on_intercept(
    sharing: SharedLeases, wanted: Wanted, connector: UUID, user: str, peer: str, decide: Callable[[], Intercept]
) -> Deferred[Intercept]:
    """Have all servers agree that a client gets what it asks for; fails with :exc:`InterceptRefused`.

    :param connector: the ID of the connector that the client becomes; when it does not, it has to be withdrawn.
    :param decide: decides as far as this server knows; may be called several times.
    """
    record = ConnectorRecord(
        id=connector,
        server=sharing.own,
        tunnel=wanted.tunnel,
        name=wanted.name,
        user=user,
        peer=peer,
        filters=tuple(map(str, wanted.filters)),
    )

    def decide_with(records: Iterable[ConnectorRecord]) -> Intercept:
        _refuse_conflicts(sharing, records, wanted)
        return decide()

    def unavailable(failure: Failure) -> Intercept:
        failure.trap(RegistryUnavailable)
        reason = (
            "the servers cannot agree now on who gets these requests, since their shared registry is not available; that is tried "
            "again"
        )
        refused = InterceptRefused(
            Status.SERVICE_UNAVAILABLE, RefusalReason.NOT_AGREED, f"{reason} ({failure.value})", InterceptAnswer(why=reason)
        )
        raise refused

    try:
        # what is refused anyway needs no agreement
        decide_with(sharing.shared.records(wanted.tunnel))
    except InterceptRefused:
        refused: Deferred[Intercept] = Deferred()
        refused.errback(Failure())
        return refused
    return sharing.shared.claim(record, decide_with).addErrback(unavailable)


def _refuse_conflicts(sharing: SharedLeases, records: Iterable[ConnectorRecord], wanted: Wanted) -> None:
    conflict = sharing.conflict(records, wanted.filters, wanted.holder)
    if conflict is not None:
        record = conflict.connector.record
        lease = record.lease
        raise refused_as_taken(
            conflict,
            reason="" if lease is None else lease.reason,
            left=0.0 if lease is None else sharing.left(lease),
            held=record.held,
        )
