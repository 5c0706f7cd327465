"""The benchmark: one command, real nginx, wrk and curl, every system in turn.

``python -m bench`` measures how much a tunnel costs a request, beside nginx without any tunnel, one hop of nginx's
``proxy_pass``, whatever peers the environment names and another version of rtunnel, and writes a table that can be committed
with a change.

From the machine up:

- :mod:`bench.proc` starts, watches and stops processes; :mod:`bench.stage` holds those of one measurement;
- :mod:`bench.service` is the local service behind every tunnel (nginx, and an echo server for WebSockets and datagrams);
- :mod:`bench.systems` knows how each system is started; :mod:`bench.load` and its neighbours are the visitors;
- :mod:`bench.cases` and :mod:`bench.growth` say what is measured; :mod:`bench.run` takes the turns;
- :mod:`bench.table` does the arithmetic, :mod:`bench.goals` names the figures to reach,
  :mod:`bench.report`, :mod:`bench.split` and :mod:`bench.plot` write it down.

:mod:`bench.micro` is apart from all this: it times the engines alone, and :mod:`bench.bytecodes` counts what the interpreter
executes. So are :mod:`bench.herd`: thousands of clients lose their server; and :mod:`bench.registry`: 100,000 clients of servers
that share a Redis; and :mod:`bench.reach`: connections of a laptop to what a pod reaches.
"""

from __future__ import annotations
