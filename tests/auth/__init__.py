"""Users, passwords, and who is let in."""
