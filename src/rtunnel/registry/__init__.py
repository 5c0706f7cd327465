"""The shared registry: what the servers of one installation know of each other, through Redis or within one process.

Nothing here knows how requests are served; the server decides what it publishes and what it makes of the records of others.
"""
