"""Several servers with a real Redis: rollouts, and what happens when any part fails at any time."""
