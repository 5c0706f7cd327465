"""kill -9 at random points of a reload or a drain, after which the next start must be clean: ``make kills``.

- :mod:`~tests.kills.site`: the processes, and what must be true of them between two kills
- :mod:`~tests.kills.__main__`: the kills
"""
