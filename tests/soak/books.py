"""Whether each request and connection has exactly one outcome, in the access log as in the metrics."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import Any

__all__ = ["complaints"]

_METRICS = {
    "rtunnel_server_requests_total": ("http",),
    "rtunnel_server_tls_connections_total": ("tls",),
    "rtunnel_server_visits_total": ("relay", "udp"),
}
"""Metrics by outcome, and the kinds of lines that they count."""

_sample = re.compile(r"(\w+)(?:\{(.*)\})? (\S+)")
_label = re.compile(r'(\w+)="([^"]*)"')


def complaints(lines: Iterable[str], samples: Sequence[str], sent: Collection[str]) -> list[str]:
    """Compare the books.

    :param lines: of the access log, as JSON.
    :param samples: of the metrics.
    :param sent: the IDs of all requests that visitors sent.
    :returns: what does not agree; nothing when all does.
    """
    entries = [json.loads(line) for line in lines]
    return [*_by_outcome(entries, samples), *_by_tunnel(entries, samples), *_retries(entries, samples), *_by_request(entries, sent)]


def _by_outcome(entries: Sequence[dict[str, Any]], samples: Sequence[str]) -> Iterable[str]:
    for metric, kinds in _METRICS.items():
        logged = Counter(entry["outcome"] for entry in entries if entry["kind"] in kinds)
        counted = Counter({labels["outcome"]: value for labels, value in _of(samples, metric) if value})
        if logged != counted:
            yield f"{metric}: counted {dict(counted)}, logged {dict(logged)}"


def _by_tunnel(entries: Sequence[dict[str, Any]], samples: Sequence[str]) -> Iterable[str]:
    metric = "rtunnel_server_tunnel_requests_total"
    logged = Counter((entry["tunnel"], entry["outcome"]) for entry in entries if entry["tunnel"])
    counted = Counter({(labels["tunnel"], labels["outcome"]): value for labels, value in _of(samples, metric) if value})
    if logged != counted:
        yield f"{metric}: counted {dict(counted)}, logged {dict(logged)}"


def _retries(entries: Sequence[dict[str, Any]], samples: Sequence[str]) -> Iterable[str]:
    logged = sum(entry["retries"] for entry in entries)
    counted = sum(value for _, value in _of(samples, "rtunnel_server_retries_total"))
    if logged != counted:
        yield f"rtunnel_server_retries_total: counted {counted}, logged {logged}"


def _by_request(entries: Sequence[dict[str, Any]], sent: Collection[str]) -> Iterable[str]:
    logged = Counter(entry["request_id"] for entry in entries if entry["kind"] == "http")
    yield from (f"request {request} has {logged[request]} lines" for request in sorted(sent) if logged[request] != 1)
    yield from (f"request {request} was not sent by anybody" for request in sorted(set(logged) - set(sent)))


def _of(samples: Sequence[str], metric: str) -> Iterable[tuple[dict[str, str], int]]:
    """The samples of one metric: labels and value."""
    for match in map(_sample.fullmatch, samples):
        if match is not None and match[1] == metric:
            yield dict(_label.findall(match[2] or "")), int(float(match[3]))
