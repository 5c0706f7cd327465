"""What setup.cfg cannot say: the extension modules (see build_backend.py)."""

from __future__ import annotations

import sys
from pathlib import Path

from setuptools import setup

# pip does not put the folder of this file there
sys.path.insert(0, str(Path(__file__).parent))

from build_backend import extensions

setup(ext_modules=extensions())
