"""The IDs that tests give to tunnels when any would do."""

from __future__ import annotations

from uuid import UUID

__all__ = ["OTHER", "TUNNEL"]

TUNNEL = UUID("10bc451e-59dc-4c70-999e-91a30813ac78")
OTHER = UUID("2f1c1d2e-0000-4a5b-8c9d-0123456789ab")
