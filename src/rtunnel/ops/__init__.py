"""The process: signals and exit status, logs, the access log, the status, the admin endpoint, systemd notification.

- :mod:`rtunnel.ops.process`, :mod:`rtunnel.ops.start`, :mod:`rtunnel.ops.memory`: the process as a whole
- :mod:`rtunnel.ops.logs`, :mod:`rtunnel.ops.recent`: the log, and its latest warnings for the status
- :mod:`rtunnel.ops.access`, :mod:`rtunnel.ops.access_file`: the access log
- :mod:`rtunnel.ops.status`: the document at ``/status``
- :mod:`rtunnel.ops.admin`: the admin endpoint, which serves it, the metrics and the probes
- :mod:`rtunnel.ops.systemd`: ``sd_notify``
- :mod:`rtunnel.ops.file_watch`: files that are read again when they change
"""

from __future__ import annotations
