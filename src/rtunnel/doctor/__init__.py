"""What a developer's machine allows, and how far it comes with a server: for ``rtunnel doctor``."""
