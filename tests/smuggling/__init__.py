"""Request smuggling: wherever rtunnel and what is behind it both accept something, they agree on what it is."""
