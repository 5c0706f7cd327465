"""Where visitors arrive: one module per protocol spoken by a visitor."""
