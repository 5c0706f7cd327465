"""The figures that cases give, and how they read in a table."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Metric:
    """One figure.

    :param label: head of its column, with the unit.
    :param digits: behind the decimal point.
    :param more_is_better: which way is up.
    :param quiet: whether it has no column among a case's figures: it is shown elsewhere, or only when it is not zero.
    """

    label: str
    digits: int = 0
    more_is_better: bool = True
    quiet: bool = False


#: By key. The first one of a case's metrics is its headline.
METRICS = {
    "rps": Metric("requests/s"),
    "messages": Metric("messages/s"),
    "datagrams": Metric("datagrams/s"),
    "lost": Metric("lost, %", 2, more_is_better=False),
    "mbps": Metric("MB/s"),
    "p50": Metric("p50 ms", 2, more_is_better=False),
    "p99": Metric("p99 ms", 2, more_is_better=False),
    "server_us": Metric("CPU us each, server", 1, more_is_better=False),
    "client_us": Metric("CPU us each, client", 1, more_is_better=False),
    "visitor_us": Metric("CPU us each, visitor", 1, more_is_better=False),
    "ingress_us": Metric("CPU us each, Ingress", 1, more_is_better=False),
    "server_kernel_us": Metric("kernel us each, server", 1, more_is_better=False, quiet=True),
    "client_kernel_us": Metric("kernel us each, client", 1, more_is_better=False, quiet=True),
    "visitor_kernel_us": Metric("kernel us each, visitor", 1, more_is_better=False, quiet=True),
    "ingress_kernel_us": Metric("kernel us each, Ingress", 1, more_is_better=False, quiet=True),
    "server_s_per_gb": Metric("CPU s per GB, server", 2, more_is_better=False),
    "client_s_per_gb": Metric("CPU s per GB, client", 2, more_is_better=False),
    "visitor_s_per_gb": Metric("CPU s per GB, visitor", 2, more_is_better=False),
    "server_kib": Metric("KiB per visitor, server", 2, more_is_better=False),
    "client_kib": Metric("KiB per visitor, client", 2, more_is_better=False),
    "visitor_kib": Metric("KiB per visitor, visitor", 2, more_is_better=False),
    "server_base": Metric("base MiB, server", 1, more_is_better=False),
    "client_base": Metric("base MiB, client", 1, more_is_better=False),
    "visitor_base": Metric("base MiB, visitor", 1, more_is_better=False),
    "visitors": Metric("still connected"),
    "share": Metric("share of the first connector, %", 1),
    "slow": Metric("slow reader got MB/s", 1),
    "logged": Metric("requests in the log, %", 1),
    "errors": Metric("errors", more_is_better=False, quiet=True),
}
