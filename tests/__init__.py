"""The tests, laid out like the package."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# whether a machine is busy says nothing about the code
settings.register_profile("rtunnel", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("rtunnel")
