"""``rtunnel inject`` and ``rtunnel uninject``."""
