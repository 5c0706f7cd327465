"""What the tests share: an in-memory connection, recordings of a real gost, processes and services."""
