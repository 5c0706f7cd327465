"""What the commands share that ask a server about leases: their arguments, the conversation, the table.

They go the way that a client goes, through the server's tunnel port, with the same options and the caller's own credentials.
"""
