"""For each requirement that can be checked over stdio, a proxy that breaks it, and as little else as can be.

Rules:
- Each area of the requirements has a module here, which is found by itself; a new kind of change goes to breaking.py.
- A defect is a small change to the correct proxy of mux.py; most are bugs that real proxies have.
- Its name and its docstring say what is broken; `symptom` is a text that the harness has to say when it fails the proxy
  for it.
- Over stdio a proxy has one client; those that mix up clients are served by front.py.
"""

from importlib import import_module
from pkgutil import iter_modules

from tests.integration.conformance.broken.breaking import DEFECTS

__all__ = ["DEFECTS"]

for _area in iter_modules(__path__):
    import_module(f"{__name__}.{_area.name}")
