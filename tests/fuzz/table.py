"""All fuzz targets by name."""

from __future__ import annotations

from typing import Final

from tests.fuzz import filters, handshakes, http, links, local, manifests, pods, registry, texts
from tests.fuzz.target import Target

__all__ = ["TARGETS"]

_MODULES = (links, http, local, handshakes, texts, filters, pods, registry, manifests)

TARGETS: Final[dict[str, Target]] = {target.name: target for module in _MODULES for target in module.TARGETS}
