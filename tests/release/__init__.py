"""Tests of :mod:`release`, and of what a release consists of."""

from __future__ import annotations
