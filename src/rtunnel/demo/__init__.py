"""The whole scenario on loopback, with real processes and real requests; played by ``rtunnel demo``.

A pod service, the server and the pod's sidecar client are started; then a laptop joins the tunnel with weight 1, is replaced by
one with weight 255, and is killed. A visitor sends requests all the time, and the screen shows which side answers them.

- :mod:`rtunnel.demo.scenario`: the story, step by step
- :mod:`rtunnel.demo.shares`: what was counted, and what is expected
- :mod:`rtunnel.demo.visitor`: sends the requests
- :mod:`rtunnel.demo.processes`: the processes, all of which end with the demo
- :mod:`rtunnel.demo.screen`: what the user sees
- :mod:`rtunnel.demo.service`: the small web service that plays the pod's and the laptop's, also useful by itself
"""

from __future__ import annotations
