"""The tests, laid out like the package."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile

from hypothesis import HealthCheck, settings

# the admin sockets of all processes that the tests start, away from those that run on this machine
os.environ["XDG_RUNTIME_DIR"] = tempfile.mkdtemp(prefix="rtunnel-tests-")
os.environ.pop("RUNTIME_DIRECTORY", None)
atexit.register(shutil.rmtree, os.environ["XDG_RUNTIME_DIR"], ignore_errors=True)

# whether a machine is busy says nothing about the code
settings.register_profile("rtunnel", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("rtunnel")
