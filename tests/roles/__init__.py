"""What a process can be, and how its settings are made."""

from __future__ import annotations
