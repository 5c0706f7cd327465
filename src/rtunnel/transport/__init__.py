"""How the two ends meet: each module gives client and server endpoints over which a byte stream flows."""
