"""Admission of clients that want some requests only: unless they are taken."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from attrs import frozen

from rtunnel.outcomes import RefusalReason
from rtunnel.routing.intercept_terms import InterceptFilter
from rtunnel.routing.intercepts import Conflict
from rtunnel.routing.leases import Leases
from rtunnel.routing.policies import Policy, Shares
from rtunnel.routing.tunnels import Tunnel
from rtunnel.settings.checks import plain
from rtunnel.wire.relay import Network, RelayError, Request, Status
from rtunnel.wire.relay_intercepts import InterceptAnswer, InterceptRequest

__all__ = [
    "Intercept",
    "InterceptRefused",
    "Wanted",
    "against_policy",
    "decide_intercept",
    "read_intercept",
    "refused_as_taken",
    "refused_by_policy",
    "winner_of",
]


class InterceptRefused(Exception):
    """It is refused.

    :param status: for the client.
    :param kind: for the metrics.
    :param reason: for the log.
    :param answer: more for the client.
    """

    def __init__(self, status: Status, kind: RefusalReason, reason: str, answer: InterceptAnswer) -> None:
        super().__init__(reason)
        self.status = status
        self.kind = kind
        self.reason = reason
        self.answer = answer


@frozen
class Wanted:
    """What a client asks for, as far as it is valid.

    :ivar tunnel: the ID of the tunnel.
    :ivar name: what the client calls itself, on one line.
    :ivar holder: whose the filters are: the authenticated user, if any; else the client is who it claims to be.
    """

    tunnel: UUID
    name: str
    holder: str
    filters: tuple[InterceptFilter, ...]
    cacheable: bool


@frozen
class Intercept:
    """What was granted.

    :ivar name: what the client calls itself, on one line.
    :ivar filters: what it gets.
    :ivar cacheable: whether its responses may be cached as the target says.
    :ivar warning: for the client, about others that want some of the same requests; may be empty.
    :ivar overlaps: with filters of these others.
    """

    name: str
    filters: tuple[InterceptFilter, ...]
    cacheable: bool
    warning: str
    overlaps: tuple[Conflict[Any], ...] = ()


def against_policy(policy: Policy, filters: Iterable[InterceptFilter], *, pod: bool, owner: bool) -> str | None:
    """Why a client may not have what it asks for, as far as the policy of its hosts says; None if it may.

    :param filters: that it has; none for a share of all requests.
    :param pod: whether it says that it is the one of the service itself.
    :param owner: whether the permissions say that its user may take a share of all requests.
    """
    wanted = tuple(filters)
    for one in wanted:
        if demands := policy.missing(one):
            return f'the policy demands an exact value of {" or ".join(map(str, demands))} in each filter, and "{one}" has none'
    if not wanted and policy.refused_share(pod=pod, owner=owner):
        others = "" if policy.shares is Shares.FORBID else ', and users with the permission "global",'
        return (
            f"only the pod{others} may take a share of all requests here (policy global={policy.shares}); use --intercept or "
            "--session, or --role pod if this is the client of the service itself"
        )
    return None


def refused_by_policy(reason: str) -> InterceptRefused:
    """The refusal of a client that may not have what it asks for."""
    return InterceptRefused(Status.FORBIDDEN, RefusalReason.POLICY, reason, InterceptAnswer(why=reason))


def read_intercept(request: Request, tunnel: UUID, policy: Policy, user: str, peer: str) -> Wanted:
    """Read what a client asks for.

    :param request: an INTERCEPT.
    :param tunnel: that it wants to join.
    :param policy: of the hosts of the tunnel.
    :param user: the authenticated user, if any.
    :param peer: its address.
    :raises InterceptRefused: nobody may have that.
    """
    try:
        asked = InterceptRequest.of(request.metadata)
        filters = tuple(dict.fromkeys(map(_parse, asked.filters)))
    except (RelayError, ValueError) as error:
        raise _malformed(str(error)) from None
    if request.network is not Network.TCP:
        raise _malformed("datagrams have no fields to intercept by; use --weight")
    reason = against_policy(policy, filters, pod=False, owner=False)
    if reason is not None:
        raise refused_by_policy(reason)
    name = plain(asked.name)
    return Wanted(tunnel, name, user or name or peer, filters, asked.cacheable)


def decide_intercept(wanted: Wanted, tunnel: Tunnel[Any] | None, leases: Leases[Any]) -> Intercept:
    """Decide whether a client gets what it asks for.

    :param tunnel: the connectors, None if nobody has joined it.
    :param leases: of clients whose link is lost, which keep their filters for a while; and why others are there.
    :raises InterceptRefused: others have it.
    """
    _refuse_conflicts(wanted, tunnel, leases)
    overlaps = [] if tunnel is None else tunnel.overlaps(wanted.filters, wanted.holder)
    warning = ""
    if overlaps:
        first = overlaps[0]
        more = f" (and {len(overlaps) - 1} more)" if len(overlaps) > 1 else ""
        winner = winner_of(first, wanted.holder)
        warning = f'requests that also match "{first.filter}" of {first.connector.holder} go to {winner}{more}'
    return Intercept(wanted.name, wanted.filters, wanted.cacheable, warning, tuple(overlaps))


def winner_of(overlap: Conflict[Any], holder: str) -> str:
    """Who gets the requests that two filters match.

    :param holder: of the wanted one.
    """
    holders: str = overlap.connector.holder
    return holder if overlap.wanted.rank > overlap.filter.rank else holders


def _refuse_conflicts(wanted: Wanted, tunnel: Tunnel[Any] | None, leases: Leases[Any]) -> None:
    conflict: Conflict[Any] | None = None if tunnel is None else tunnel.conflict(wanted.filters, wanted.holder)
    lease = None if conflict is None else leases.of(conflict.connector)
    if conflict is None:
        conflict = leases.conflict(wanted.tunnel, wanted.filters, wanted.holder)
        lease = None if conflict is None else conflict.connector
    if conflict is not None:
        raise refused_as_taken(
            conflict,
            reason="" if lease is None else lease.reason,
            left=0.0 if lease is None else leases.left(lease),
            held=lease is not None and lease.connector is None,
        )


def refused_as_taken(conflict: Conflict[Any], *, reason: str, left: float, held: bool) -> InterceptRefused:
    """The refusal of a client whose requests others have.

    :param reason: what for.
    :param left: the seconds until then; 0 without an end.
    :param held: whether their link is lost.
    """
    answer = InterceptAnswer(
        why=str(conflict.wanted),
        holder=conflict.connector.holder,
        taken=str(conflict.filter),
        reason=reason,
        left=int(left),
        held=held,
    )
    text = f'requests with "{conflict.wanted}" are taken by {answer.holder} with "{answer.taken}"'
    return InterceptRefused(Status.FORBIDDEN, RefusalReason.INTERCEPT_TAKEN, text, answer)


def _parse(text: str) -> InterceptFilter:
    try:
        parsed = InterceptFilter.parse(text)
        parsed.compile()
    except ValueError as error:
        raise ValueError(f"the intercept {plain(text)}: {error}") from None
    return parsed


def _malformed(reason: str) -> InterceptRefused:
    return InterceptRefused(Status.BAD_REQUEST, RefusalReason.BAD_REQUEST, reason, InterceptAnswer(why=reason))
