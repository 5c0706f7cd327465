"""What a client gives out of its pod's environment."""

from __future__ import annotations

import attrs

from rtunnel.routing.globs import Glob
from rtunnel.settings.checks import SettingsError

__all__ = ["PodEnvSettings"]


@attrs.frozen(kw_only=True)
class PodEnvSettings:
    """The environment of the application, for developers.

    :ivar source: where it is read, each time that it is asked for: a document of ``rtunnel pod-env`` (``.json``),
        ``/proc/PID/environ`` or a dotenv file; ``None`` to give nothing out.
    :ivar allow: the names that are given out, but for values of Secrets; a value whose source is not known counts as one.
    :ivar allow_secret: names whose value is given out although it is one of a Secret.
    :ivar deny: names that are not even mentioned.
    """

    source: str | None = None
    allow: tuple[Glob, ...] = (Glob("*"),)
    allow_secret: tuple[Glob, ...] = ()
    deny: tuple[Glob, ...] = ()

    def __attrs_post_init__(self) -> None:
        for name in ("allow_secret", "deny"):
            if self.source is None and getattr(self, name):
                raise SettingsError(name, None, "needs the environment itself; add --env-source FILE")
