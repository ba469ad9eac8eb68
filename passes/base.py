"""What a pass is, and the registry of all passes."""

from __future__ import annotations

import gc
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from ..ir import Diagnostic, Graph, GrowcError
from ..ir.attributes import Attributed
from ..ir.diagnostics import did_you_mean, plural
from ..ir.names import matcher


@dataclass(frozen=True, slots=True)
class Claim:
    """In which modes a pass says that the function is the same.

    ``exact``: in real arithmetic. Otherwise up to the rounding of new weights to float32.
    """

    eval: bool
    train: bool
    exact: bool = True

    @property
    def modes(self) -> tuple[str, ...]:
        """The modes in which something is claimed."""
        return tuple(mode for mode in ("eval", "train") if getattr(self, mode))

    def __str__(self) -> str:
        return (", ".join(self.modes) or "nothing") + ("" if self.exact else ", within rounding")


PRESERVES = Claim(eval=True, train=True)
CLAIMS_NOTHING = Claim(eval=False, train=False)


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
    nothing: bool = False
    """Whether there is just nothing to do here, with the weights of now."""

    def __str__(self) -> str:
        return f"{self.place.name}: {self.reason}"


class NothingToDo(GrowcError):
    """A pass has no place to rewrite. ``refused`` are those where it does not apply."""

    def __init__(
        self,
        *diagnostics: Diagnostic | str,
        help: str | None = None,
        refused: tuple[Refusal, ...] = (),
    ) -> None:
        super().__init__(*diagnostics, help=help)
        self.refused = refused


@dataclass(frozen=True, slots=True)
class Found:
    """What a pass finds in a graph, in canonical order.

    ``main`` are the places it takes when asked for none. ``single`` yields finer ones, which are
    taken only where ``at=`` names them and no main place. ``noun`` says what the main places are,
    ``help`` what to do where there are none.
    """

    noun: str
    main: Sequence[Place | Refusal]
    single: Callable[[], Sequence[Place | Refusal]] = tuple
    help: str | None = None


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
class Configured(Attributed):
    """Something with options that is written ``name{option=value}``; its text round-trips."""

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


@dataclass(frozen=True)
class Pass(Configured):
    """A rewrite of the graph. Its fields are its options; its text form round-trips.

    A subclass gives ``name``, ``claim``, ``find`` and ``rewrite``. Calling a pass never changes
    the graph it is given: it copies it once, shares parameters, and edits the copy.
    """

    claim: ClassVar[Claim] = PRESERVES
    looks_at_weights: ClassVar[bool] = False
    """Whether it depends on the values of weights, which training moves, where the pass applies.
    That it finds nothing today then says nothing about tomorrow."""

    @abstractmethod
    def find(self, graph: Graph) -> Found:
        """All places, each either open or refused with a reason. Changes nothing."""

    @abstractmethod
    def rewrite(self, graph: Graph, places: Sequence[Any], seed: int) -> None:
        """Rewrite the graph in place, at all the places."""

    def claim_at(self, places: Sequence[Place]) -> Claim:
        """What the pass claims at these places, where that is not the same at all."""
        return self.claim

    def pick(self, places: Sequence[Place], seed: int) -> Sequence[Place]:
        """Which of the open places are taken: all, unless a pass draws some of them."""
        return places

    def __call__(self, graph: Graph, *, seed: int = 0) -> Result:
        """Apply the pass to a copy of ``graph``, whose parameters all need values.

        ``seed`` is used unless the pass has a seed of its own. Raises :class:`NothingToDo` if no
        place is left to rewrite, with the reasons, and another :class:`GrowcError` for an ``at``
        that names nothing of this network.
        """
        _require_weights(self, graph)
        found = self.find(graph)
        chosen, noun = self._choose(graph, found)
        places = tuple(p for p in chosen if isinstance(p, Place))
        refused = tuple(p for p in chosen if isinstance(p, Refusal))
        if not places:
            raise self._nothing(found, refused)
        own = getattr(self, "seed", None)
        seed = seed if own is None else own
        places = tuple(self.pick(places, seed))
        with _collector_paused():
            grown = graph.copy()
            self.rewrite(grown, places, seed)
            grown.settle()
        return Result(grown, places, refused, noun, self.claim_at(places))

    def _choose(self, graph: Graph, found: Found) -> tuple[list[Place | Refusal], str]:
        """The places that ``at`` names, or the main ones."""
        patterns: tuple[str, ...] | None = getattr(self, "at", None)
        if patterns is None:
            return list(found.main), found.noun
        chosen: dict[Place | Refusal, None] = {}
        noun = found.noun
        single: Sequence[Place | Refusal] | None = None
        for pattern in patterns:
            hits = _matching(found.main, pattern)
            if not hits:
                single = found.single() if single is None else single
                hits = _matching(single, pattern)
                noun = "place"
            if not hits and self.looks_at_weights and any(map(matcher((pattern,)), graph.order())):
                raise NothingToDo(f"{self.name}: there is nothing to do at `{pattern}`")
            if not hits:
                raise GrowcError(
                    f"{self.name}: no place of this network is called `{pattern}`",
                    help=_hint(found, pattern),
                )
            if all(isinstance(hit, Refusal) for hit in hits):
                # Asked for by name: an error, even if other patterns name places that are open.
                raise self._nothing(found, tuple(h for h in hits if isinstance(h, Refusal)))
            chosen.update(dict.fromkeys(hits))
        return list(chosen), noun

    def _nothing(self, found: Found, refused: tuple[Refusal, ...]) -> NothingToDo:
        if not refused:
            return NothingToDo(
                f"{self.name}: this network has no {found.noun} to apply it to", help=found.help
            )
        shown = [f"{self.name} does not apply at {refusal}" for refusal in refused[:5]]
        if len(refused) > 5:
            shown.append(f"{self.name} does not apply at {len(refused) - 5} more places")
        return NothingToDo(*shown, refused=refused)


@contextmanager
def _collector_paused() -> Iterator[None]:
    """No garbage collection inside.

    A copy and its rewrite make hundreds of thousands of objects that stay. The collector would
    walk through all of them again and again, which takes half the time of a pass.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


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
