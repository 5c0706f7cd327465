"""The tests, laid out like the package."""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile

from hypothesis import HealthCheck, settings

# The processes that the tests start know nothing of those that run on this machine, nor of the profiles of who runs the tests.
_home = tempfile.mkdtemp(prefix="rtunnel-tests-")
os.environ["XDG_RUNTIME_DIR"] = os.environ["XDG_CONFIG_HOME"] = _home
os.environ.pop("RUNTIME_DIRECTORY", None)
atexit.register(shutil.rmtree, _home, ignore_errors=True)

# Without the bytecode of an earlier one, each process would compile the package anew: half of the time that its start takes.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# whether a machine is busy says nothing about the code
settings.register_profile("rtunnel", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("rtunnel")
