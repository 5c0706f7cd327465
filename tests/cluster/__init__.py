"""A Kubernetes of one node, in a network namespace of its own: ``make cluster``, ``cluster-test`` and ``cluster-down``.

Its programs come from Debian and, as Go modules, from the Kubernetes project; everything that it keeps is in ``.cluster/``.
"""
