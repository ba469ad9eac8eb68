"""What ILNAS's three additions share (ILNAS section 3.2): options, and random places."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..ir.attributes import BadValue, Int, Optional, Patterns, attr
from ..ir.weights import generator
from .base import Pass, Place


class NodeName(Patterns):
    """The name of one node, as it is; in a pipeline it is written like a pattern."""

    expects = "the name of a node"

    def read(self, value: object) -> str:  # type: ignore[override]
        if not isinstance(value, str) or not value:
            raise BadValue(self.expects)
        return value

    def show(self, value: Any) -> str:
        return super().show((value,))


@dataclass(frozen=True)
class Addition(Pass):
    """A pass that adds at every place, or at some of them drawn at random."""

    at: Any = attr(Optional(Patterns()), None, doc="where")
    places: int | None = attr(
        Optional(Int(1)),
        None,
        doc="how many of the places to take, drawn at random; all if not given",
    )
    seed: int | None = attr(Optional(Int(0)), None, doc="random seed; the pipeline's if not given")

    def pick(self, places: Sequence[Place], seed: int) -> Sequence[Place]:
        if self.places is None or self.places >= len(places):
            return places
        drawn = generator(seed, self.name).choice(len(places), self.places, replace=False)
        return [places[i] for i in sorted(drawn)]
