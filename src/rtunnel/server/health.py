"""The health of connectors: those that are silent, or whose target cannot be reached, are avoided while another one can serve.

Three things are watched:

- **Signs of life.** A client that has requests to answer and sends nothing is probed twice a second, with a ping or with a
  question of our own (:meth:`~rtunnel.tunnel.link.Link.probe`). Without an answer it is suspect after a while: new requests avoid
  it. After a longer while it is dead: its link is closed, and its requests go to other connectors, as far as no byte of a response
  was received. A client whose target is slow answers, and keeps its requests for as long as they take. Only a client that is known
  to answer probes is judged; all others have the keepalive. A probe waits behind what was sent before it, so a link over which much
  was sent gets more time: :data:`SLOWEST` is how slow it may be.
- **Reading.** A client that takes nothing of what waits for it is avoided after the longer while, whatever it sends: no request can
  reach it. One for which too much waits is avoided at once, since it is slower than requests come. When it is dropped is up to the
  bounds of its link (:class:`~rtunnel.tunnel.bounds.LinkBounds`).
- **Failures.** A connector whose client could not deliver a request to its target is avoided for the host that was asked for, for a
  second, and for twice as long with each further failure, up to a limit. After that time a single request tries it again. A
  response, of whatever status, ends it. Its other hosts may have other targets, so they are not concerned.

Avoided connectors come last: a silent one by its rank (:class:`~rtunnel.routing.tunnels.Rank`), one that fails when a connector is
selected for the host. They are chosen when no other one is left: the weight 255 does not protect a connector that cannot serve.
Time is counted in sweeps, not read from a clock: a server that slept for an hour was not waiting for anybody.
"""

from __future__ import annotations

from twisted.logger import Logger

from rtunnel.ids import short_id
from rtunnel.outcomes import LinkEnd
from rtunnel.routing.failing import FailingHost
from rtunnel.routing.tunnels import Connector, TunnelRegistry
from rtunnel.server.deadlines import SWEEP
from rtunnel.server.upstream import UpstreamPool
from rtunnel.settings.health import HealthSettings

__all__ = ["MAX_AVOIDED", "MIN_AVOIDED", "HealthMonitor"]

MIN_AVOIDED = 1.0
"""Seconds that a connector is avoided after its first failure."""
MAX_AVOIDED = 30.0
"""Seconds that it is avoided at most, before it is tried again."""
MANY = 5
"""Failures after which it is avoided for that long."""
FORGOTTEN = 300.0
"""Seconds after which a failure is forgotten if nobody asks for the host any more."""
SLOWEST = 131072
"""Bytes per second of the slowest link on which an upload must not look like silence."""
MAX_STEP = 2 * SWEEP
"""Seconds that one sweep counts at most."""


_READS_AGAIN = "reads again"
_READS_NOTHING = "reads nothing: requests go to the others of its tunnel, if there are any"
_TOO_SLOW = (
    "is slower than requests come, and too much waits for it (--link-buffer): they go to the others of its tunnel, if there are any"
)


class _Watched:
    """What is known about one connector."""

    __slots__ = ("blocked", "blocked_for", "grace", "sent", "sent_before", "settings", "silence", "silent", "taken")

    def __init__(self, settings: HealthSettings) -> None:
        self.settings = settings
        self.sent = 0
        """Bytes that were sent, at the last sweep."""
        self.sent_before = 0
        """Bytes that were certainly sent before its last sign of life."""
        self.grace = 0.0
        """Seconds that a slow link takes for what was sent between that and the first probe."""
        self.silence = 0.0
        self.silent = False
        self.taken = -1
        """Bytes that it had taken when its link was found congested last."""
        self.blocked_for = 0.0
        self.blocked = False


class HealthMonitor:
    """Watches the connectors of a server; owned by the service, whose sweep calls it.

    :param registry: where avoided connectors get their rank.
    """

    _log = Logger()

    def __init__(self, registry: TunnelRegistry[UpstreamPool]) -> None:
        self._registry = registry
        self._watched: dict[Connector[UpstreamPool], _Watched] = {}
        self._last: float | None = None
        self.of_remote = HealthSettings()
        """The settings for connectors of other servers. Of them only failures are watched, from the first one on: their signs of
        life are up to their own server, and those of that server to the link to it."""

    def watch(self, connector: Connector[UpstreamPool], settings: HealthSettings) -> None:
        """A connector has joined."""
        self._watched[connector] = _Watched(settings)

    def forget(self, connector: Connector[UpstreamPool]) -> None:
        """A connector has left."""
        self._watched.pop(connector, None)

    # -- failures

    def failed(self, connector: Connector[UpstreamPool], host: str, *, delivered: bool) -> None:
        """A stream of it was closed before the first byte of a response.

        :param host: what the visitor asked for.
        :param delivered: whether the target may have got the request. A client of ours says when it did not; of any other
            client it is assumed.
        """
        pool, watched = connector.pool, self._watched.get(connector)
        if watched is None and pool.is_remote:
            watched = self._watched[connector] = _Watched(self.of_remote)
        if watched is None or not watched.settings.passive or not pool.link.usable or (delivered and pool.knows_signals):
            # a link that is lost says nothing of its target
            return
        record, is_new = connector.failing.add(host)
        if record.avoided and not record.on_trial:
            # requests that were sent before the first of them failed
            return
        record.failures += 1
        self._avoid(record)
        self._registry.failing_changed(connector)
        if is_new:
            self._log.warn(
                'connector {connector} of tunnel {tunnel} does not reach its target for "{host}": requests go to the others of its '
                "tunnel, if there are any, and single ones try it again",
                connector=short_id(connector.id),
                tunnel=short_id(connector.tunnel),
                host=host,
            )

    def tried(self, connector: Connector[UpstreamPool], host: str) -> None:
        """A request is sent to it. If it finds out whether the host still fails, others wait, but not for longer than before."""
        record = connector.failing.get(host)
        if record is not None and not record.avoided:
            self._avoid(record)
            record.on_trial = True

    def _avoid(self, record: FailingHost) -> None:
        record.avoided, record.on_trial = True, False
        record.wait = MAX_AVOIDED if record.failures > MANY else MIN_AVOIDED * 2 ** (record.failures - 1)

    def succeeded(self, connector: Connector[UpstreamPool], host: str) -> None:
        """A response was received of a connector with failing hosts."""
        if connector.failing.pop(host, None) is None:
            return
        self._registry.failing_changed(connector)
        self._log.info(
            'connector {connector} of tunnel {tunnel} reaches its target for "{host}" again',
            connector=short_id(connector.id),
            tunnel=short_id(connector.tunnel),
            host=host,
        )

    def _count_waits(self, connector: Connector[UpstreamPool], step: float) -> None:
        for host, record in list(connector.failing.items()):
            record.wait -= step
            if record.wait <= 0:
                record.avoided = record.on_trial = False
            if record.wait <= -FORGOTTEN:
                del connector.failing[host]
                self._registry.failing_changed(connector)

    # -- signs of life

    def sweep(self, now: float) -> None:
        """Count the time."""
        step = SWEEP if self._last is None else min(now - self._last, MAX_STEP)
        self._last = now
        for connector, watched in list(self._watched.items()):
            if connector.failing:
                self._count_waits(connector, step)
            if connector.pool.is_remote:
                if not connector.failing:
                    self.forget(connector)
                continue
            self._check_silence(connector, watched, step)
            if connector.pool.link.congested or watched.blocked_for or watched.blocked:
                self._check_reading(connector, watched, step)

    def full(self, connector: Connector[UpstreamPool]) -> None:
        """Too much waits for a connector: avoid it from now on."""
        watched = self._watched.get(connector)
        if watched is not None and not watched.blocked:
            self._set_blocked(connector, watched, _TOO_SLOW)

    def _check_reading(self, connector: Connector[UpstreamPool], watched: _Watched, step: float) -> None:
        """Avoid a connector whose client takes nothing; a link that is congested because it is slow takes something."""
        link, limit = connector.pool.link, watched.settings.dead_after
        if not link.usable and not link.full:
            return
        before, watched.taken = watched.taken, link.taken()
        watched.blocked_for = watched.blocked_for + step if link.congested and watched.taken == before else 0.0
        reads_nothing = 0 < limit <= watched.blocked_for
        blocked = link.check_unsent() or reads_nothing
        if blocked != watched.blocked:
            self._set_blocked(connector, watched, _READS_NOTHING if reads_nothing else _TOO_SLOW if blocked else _READS_AGAIN)

    def _set_blocked(self, connector: Connector[UpstreamPool], watched: _Watched, why: str) -> None:
        watched.blocked = why is not _READS_AGAIN
        self._update(connector, watched)
        self._log.warn(
            "connector {connector} of tunnel {tunnel} " + why,
            connector=short_id(connector.id),
            tunnel=short_id(connector.tunnel),
        )

    def _check_silence(self, connector: Connector[UpstreamPool], watched: _Watched, step: float) -> None:
        link, settings = connector.pool.link, watched.settings
        sent, watched.sent = watched.sent, link.bytes_out
        if link.poll_heard() or not connector.pool.busy:
            watched.silence = 0.0
            watched.sent_before = sent
            if watched.silent:
                watched.silent = False
                self._update(connector, watched)
                self._log.info("connector {connector} is there again", connector=short_id(connector.id))
            return
        link.probe()
        if not link.answers_probes:
            return
        if not watched.silence:
            watched.grace = (watched.sent - watched.sent_before) / SLOWEST
        watched.silence += step
        silence = watched.silence - watched.grace
        if settings.dead_after and silence >= settings.dead_after:
            link.drop(LinkEnd.KEEPALIVE_TIMEOUT, f"no sign of life for {watched.silence:.0f} s, while requests were waiting")
        elif settings.suspect_after and silence >= settings.suspect_after and not watched.silent:
            watched.silent = True
            self._update(connector, watched)
            self._log.warn(
                "connector {connector} of tunnel {tunnel} gives no sign of life: requests go to the others of its tunnel, if there "
                "are any",
                connector=short_id(connector.id),
                tunnel=short_id(connector.tunnel),
            )

    def _update(self, connector: Connector[UpstreamPool], watched: _Watched) -> None:
        self._registry.avoid(connector, watched.silent or watched.blocked)
