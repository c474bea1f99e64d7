"""A case: how client, target and backends are connected while a scenario is played."""

from dataclasses import dataclass
from typing import Literal

from .requirements.model import Era

Transport = Literal["stdio", "sse", "http"]


@dataclass(frozen=True)
class Case:
    """How a scenario is played: the client's transport and era, and the transport of the backends."""

    client: Transport
    era: Era
    backend: Transport

    def __str__(self) -> str:
        return f"{self.client}-{self.era}>{self.backend}"
