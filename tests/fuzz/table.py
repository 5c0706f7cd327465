"""All fuzz targets by name."""

from __future__ import annotations

from typing import Final

from tests.fuzz import filters, handshakes, http, links, local, pods, registry, texts
from tests.fuzz.target import Target

__all__ = ["TARGETS"]

TARGETS: Final[dict[str, Target]] = {
    target.name: target for module in (links, http, local, handshakes, texts, filters, pods, registry) for target in module.TARGETS
}
