"""Toward clients: bytes become calls, and what comes back becomes bytes."""
