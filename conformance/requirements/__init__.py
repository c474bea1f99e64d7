"""What a proxy has to keep: every requirement, by id. One module per area."""

from .model import Era, Level, Requirement, Spec

__all__ = ["REQUIREMENTS", "Era", "Level", "Requirement", "Spec"]

REQUIREMENTS: dict[str, Requirement] = {}
