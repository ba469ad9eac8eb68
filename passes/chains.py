"""Where layers can be made wider: plain chains, alone or inside residual blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ..ir import Graph
from .base import Found, Place, Refusal
from .blocks import Block, residual_blocks
from .widening import Chain, mixes


@dataclass(frozen=True, slots=True, eq=False)
class Chains(Place):
    """Layers to widen, each with its number of new channels."""

    chains: tuple[tuple[Chain, int], ...]


def find_chains(graph: Graph, start: Callable[[str], tuple[Chain, int] | str]) -> Found:
    """The inner layers of every residual block; in a network without any, every plain chain.

    ``start`` gives the chain that begins at a layer, with the number of its new channels, or the
    reason why there is none.
    """
    layers = [node.name for node in graph if mixes(node.op)]
    chains = {name: _alone(name, start(name)) for name in layers}
    single = list(chains.values())
    blocks = residual_blocks(graph)
    if blocks:
        return Found("residual block", [_inside(b, chains) for b in blocks], lambda: single)
    # No chain begins at the last layer, whose width is the result's: nothing to report.
    plain = [c for c in single if isinstance(c, Chains)]
    return Found(
        "plain chain", plain, lambda: single, "with at=NAME it says why a layer is not widened"
    )


def _alone(name: str, chain: tuple[Chain, int] | str) -> Chains | Refusal:
    place = Place(name, ())
    return Refusal(place, chain) if isinstance(chain, str) else Chains(name, (), (chain,))


def _inside(block: Block, chains: dict[str, Chains | Refusal]) -> Place | Refusal:
    inner = [chains[name] for name in block.body if name in chains]
    ours = tuple(pair for c in inner if isinstance(c, Chains) for pair in c.chains)
    if ours:
        return Chains(block.name, block.aliases, ours)
    reasons = dict.fromkeys(str(c) for c in inner if isinstance(c, Refusal))
    return Refusal(
        block, "it has no inner layer that can be widened" + "".join(f"; {r}" for r in reasons)
    )


def chains_of(places: Sequence[Place]) -> Iterator[tuple[Chain, int]]:
    """The chains of all places, each once: blocks inside blocks share some, and layers whose
    results are added are in one chain."""
    taken: set[str] = set()
    for place in places:
        for chain, count in place.chains if isinstance(place, Chains) else ():
            if taken.isdisjoint(chain.producers):
                taken.update(chain.producers)
                yield chain, count
