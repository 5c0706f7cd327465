"""Several processes that serve as one (``rtunnel server --workers``): the supervisor, and what each worker does beyond a server."""
