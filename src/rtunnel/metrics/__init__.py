"""Counters, and their exposition to Prometheus.

- :mod:`rtunnel.metrics.stats`: the counters of a process
- :mod:`rtunnel.metrics.labelled_counts`: those per tunnel and per connector, with a bounded number of labels
- :mod:`rtunnel.metrics.exposition`: the collectors for Prometheus
"""

from __future__ import annotations
