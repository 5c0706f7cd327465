"""``rtunnel inject`` and ``rtunnel uninject``: Kubernetes manifests with the sidecar, and without it again.

Text in, text out: nothing here talks to a cluster.
"""
