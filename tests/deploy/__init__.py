"""What deploy/ ships is valid, hardened, and starts with options that we have."""

from __future__ import annotations
