"""The status document as its readers see it."""

from __future__ import annotations
