"""Scenarios: scripted client sessions, one module per area of requirements."""

import importlib
import pkgutil

from .registry import SCENARIOS, Scenario, matrix, scenario

__all__ = ["SCENARIOS", "Scenario", "load_all", "matrix", "scenario"]


def load_all() -> dict[str, Scenario]:
    """Import every module of scenarios; returns all scenarios by name."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    return SCENARIOS
