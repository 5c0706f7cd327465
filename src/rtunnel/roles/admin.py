"""The places where a process of any role can be asked what it does."""

from __future__ import annotations

import os
from typing import Any

from twisted.application.service import MultiService

from rtunnel.roles.service import RoleService

__all__ = ["add_admin"]


def add_admin(role: str, settings: Any, service: RoleService, reactor: Any, parent: MultiService) -> None:
    """Add the places that settings ask for, of which there may be two, none or one.

    :param role: what the process is.
    :param settings: of the process.
    :param service: is asked.
    :param parent: of the places; they start and stop with it.
    """
    if settings.admin is None and not settings.admin_socket:
        return
    # late, for a process without any of them
    from rtunnel.ops.admin import AdminService
    from rtunnel.ops.admin_answers import AdminAnswers
    from rtunnel.ops.admin_socket import AdminSocket
    from rtunnel.ops.recent import RecentErrors
    from rtunnel.ops.status import ProcessStatus

    recent = RecentErrors()
    recent.setServiceParent(parent)  # type: ignore[no-untyped-call]
    answers = AdminAnswers(
        ready=lambda: bool(service.ready),
        metrics=service.metrics,
        refresh=service.refresh,
        status=ProcessStatus(service, recent).json,
        queries=service.queries,
    )
    if settings.admin_socket:
        AdminSocket(role, answers, os.environ, reactor, alone=settings.admin is None).setServiceParent(parent)  # type: ignore[no-untyped-call]
    if settings.admin is not None:
        AdminService(settings.admin, answers, reactor).setServiceParent(parent)  # type: ignore[no-untyped-call]
