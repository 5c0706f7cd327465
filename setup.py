"""What setup.cfg cannot say: the extension modules (see build_backend.py)."""

from __future__ import annotations

import sys
from pathlib import Path

from setuptools import setup

sys.path.insert(0, str(Path(__file__).parent))

from build_backend import extensions  # noqa: E402 - it lies beside this file, and need not be on the path

setup(ext_modules=extensions())
