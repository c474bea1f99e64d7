"""The public face of the proxy as an ASGI application: `multimcp.app:application`."""

from .serving.app import application

__all__ = ["application"]
