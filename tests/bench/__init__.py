"""The benchmark's arithmetic; nothing here measures time."""

from __future__ import annotations
