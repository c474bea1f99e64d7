"""Toward servers: bytes become a link, links a backend, backends a registry."""
