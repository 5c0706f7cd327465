"""The room ops: the process, its log, the access log, the status, the admin endpoint, systemd notification."""

from __future__ import annotations
