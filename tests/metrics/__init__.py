"""The room metrics: counters and their exposition."""

from __future__ import annotations
