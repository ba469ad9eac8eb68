"""What a pass is, and the registry of all passes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from ..ir import Graph, GrowcError
from ..ir.attributes import Attributed
from ..ir.diagnostics import did_you_mean, plural
from ..ir.names import matcher


@dataclass(frozen=True, slots=True)
class Claim:
    """In which modes a pass says that the function is the same, in real arithmetic."""

    eval: bool
    train: bool

    def __str__(self) -> str:
        modes = [m for m in ("eval", "train") if getattr(self, m)]
        return ", ".join(modes) or "nothing"


PRESERVES = Claim(eval=True, train=True)


@dataclass(frozen=True, slots=True)
class Place:
    """Somewhere that a pass applies. ``aliases`` are further names that ``at=`` finds it by."""

    name: str
    aliases: tuple[str, ...]

    def matches(self, test: Callable[[str], bool]) -> bool:
        return test(self.name) or any(map(test, self.aliases))


@dataclass(frozen=True, slots=True)
class Refusal:
    """A place where a pass does not apply, and why."""

    place: Place
    reason: str

    def __str__(self) -> str:
        return f"{self.place.name}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Found:
    """What a pass finds in a graph, in canonical order.

    ``main`` are the places it takes when asked for none. ``single`` yields finer ones, which are
    taken only where ``at=`` names them and no main place. ``noun`` says what the main places are.
    """

    noun: str
    main: Sequence[Place | Refusal]
    single: Callable[[], Sequence[Place | Refusal]] = tuple


@dataclass(frozen=True, slots=True)
class Result:
    """The rewritten graph, where it was rewritten, and where it was not."""

    graph: Graph
    places: tuple[Place, ...]
    refused: tuple[Refusal, ...]
    noun: str
    claim: Claim

    @property
    def where(self) -> str:
        """``3 residual blocks``, or the place's name if there is one."""
        if len(self.places) == 1:
            return self.places[0].name
        return plural(len(self.places), self.noun)


@dataclass(frozen=True)
class Pass(Attributed):
    """A rewrite of the graph. Its fields are its options; its text form round-trips.

    A subclass gives ``name``, ``claim``, ``find`` and ``rewrite``. Calling a pass never changes
    the graph it is given: it copies it once, shares parameters, and edits the copy.
    """

    claim: ClassVar[Claim] = PRESERVES

    @abstractmethod
    def find(self, graph: Graph) -> Found:
        """All places, each either open or refused with a reason. Changes nothing."""

    @abstractmethod
    def rewrite(self, graph: Graph, places: Sequence[Any], seed: int) -> None:
        """Rewrite the graph in place, at all the places."""

    def __call__(self, graph: Graph, *, seed: int = 0) -> Result:
        """Apply the pass to a copy of ``graph``, whose parameters all need values.

        ``seed`` is used unless the pass has a seed of its own. Raises :class:`GrowcError` if no
        place is left to rewrite, with the reasons.
        """
        _require_weights(self, graph)
        found = self.find(graph)
        chosen, noun = self._choose(found)
        places = tuple(p for p in chosen if isinstance(p, Place))
        refused = tuple(p for p in chosen if isinstance(p, Refusal))
        if not places:
            raise GrowcError(*self._nothing(found, refused))
        own = getattr(self, "seed", None)
        grown = graph.copy()
        self.rewrite(grown, places, seed if own is None else own)
        grown.settle()
        return Result(grown, places, refused, noun, self.claim)

    def _choose(self, found: Found) -> tuple[list[Place | Refusal], str]:
        """The places that ``at`` names, or the main ones."""
        patterns: tuple[str, ...] | None = getattr(self, "at", None)
        if patterns is None:
            return list(found.main), found.noun
        chosen: dict[Place | Refusal, None] = {}
        noun = found.noun
        for pattern in patterns:
            hits = _matching(found.main, pattern)
            if not hits:
                hits = _matching(found.single(), pattern)
                noun = "place"
            if not hits:
                raise GrowcError(
                    f"{self.name}: no place of this network is called `{pattern}`",
                    help=_hint(found, pattern),
                )
            chosen.update(dict.fromkeys(hits))
        return list(chosen), noun

    def _nothing(self, found: Found, refused: tuple[Refusal, ...]) -> list[str]:
        if not refused:
            return [f"{self.name}: this network has no {found.noun} to apply it to"]
        shown = [f"{self.name} does not apply at {refusal}" for refusal in refused[:5]]
        if len(refused) > 5:
            shown.append(f"{self.name} does not apply at {len(refused) - 5} more places")
        return shown

    def __str__(self) -> str:
        given = [(a, getattr(self, a.name)) for a in self.attributes]
        options = ", ".join(
            f"{a.name}={a.kind.show_option(v)}" for a, v in given if a.required or v != a.default
        )
        return f"{self.name}{{{options}}}" if options else self.name

    @classmethod
    def signature(cls) -> str:
        names = ", ".join(a.name for a in cls.attributes)
        return f"{cls.name}{{{names}}}" if names else cls.name

    @classmethod
    def signature_help(cls) -> str:
        return f"its options are {', '.join(a.name for a in cls.attributes) or 'none'}"


def _place(item: Place | Refusal) -> Place:
    return item.place if isinstance(item, Refusal) else item


def _matching(items: Sequence[Place | Refusal], pattern: str) -> list[Place | Refusal]:
    test = matcher((pattern,))
    return [item for item in items if _place(item).matches(test)]


def _hint(found: Found, pattern: str) -> str:
    known = [_place(p).name for p in (*found.main, *found.single())]
    hint = did_you_mean(pattern, known)
    if hint or not known:
        return hint or "this network has no place for this pass"
    shown = ", ".join(known[:8]) + (", …" if len(known) > 8 else "")
    return f"it can be applied at {shown}"


def _require_weights(applied: Pass, graph: Graph) -> None:
    missing = sum(name not in graph.weights for name in graph.parameters())
    if missing:
        raise GrowcError(
            f"{applied.name}: {plural(missing, 'parameter')} of the network "
            f"{'has' if missing == 1 else 'have'} no value yet",
            help="call growc.initialize(graph), or load its weights",
        )


PASSES: dict[str, type[Pass]] = {}
"""Every pass by name."""

PassClass = TypeVar("PassClass", bound=type[Pass])


def register(cls: PassClass) -> PassClass:
    """Make a pass known to pipelines, to the command line and to its documentation."""
    if cls.name in PASSES:
        raise ValueError(f"two passes are called {cls.name}")
    cls.collect_attributes()
    PASSES[cls.name] = cls
    return cls
