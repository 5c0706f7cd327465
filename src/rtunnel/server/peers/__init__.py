"""Requests that arrive at one server and are served by a client of another one: peer links, and what goes over them."""
