"""What the commands share."""

from __future__ import annotations
