"""Whether everything comes back and everything is counted, after minutes of mixed traffic in which parts are killed: ``make soak``.

- :mod:`~tests.soak.site`: the processes, and what happens to them
- :mod:`~tests.soak.traffic`: visitors of each kind
- :mod:`~tests.soak.books`: the access log and the metrics, which must agree
- :mod:`~tests.soak.run`: one soak, and what was wrong in the end
"""
