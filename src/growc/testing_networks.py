"""Random networks: see ``growc.testing``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st

from .ir import Graph
from .ir.weights import masked
from .testing_builder import KINDS, Builder, Menu
from .testing_ops import Draw


def networks(
    *,
    kinds: Sequence[str] = KINDS,
    residual: bool = True,
    dropout: bool = True,
    several_inputs: bool = True,
    several_outputs: bool = True,
    tied: bool = True,
    odd_names: bool = True,
    foreign: bool = True,
    steps: int = 4,
) -> st.SearchStrategy[Graph]:
    """Small random networks of all ops, well typed, with weights.

    ``kinds`` are those of the main input (see :data:`KINDS`), ``steps`` how many parts (a layer
    with what follows it, a residual block, a gate, …) a network has at most; the other options
    leave things out. ``foreign`` are parts that models from elsewhere have: attention, learned
    position embeddings, reductions, transposed convolutions, …

    Tensors have 1 to some 6 channels and are up to 8 wide. No parameter has its initial value:
    biases, scales and running statistics are random too, so that a mistake shows.

        >>> @given(testing.networks(kinds=["image2d"], dropout=False))
        ... def test_my_op(net):
        ...     testing.assert_backends_agree(net)
    """
    options = (residual, dropout, several_inputs, several_outputs, tied, odd_names, foreign)
    return _network(Menu(tuple(kinds), *options, steps))


def residual_networks(**options: Any) -> st.SearchStrategy[Graph]:
    """Like :func:`networks`, each with at least one residual block.

    >>> @given(testing.residual_networks())
    ... def test_it_has_a_sum(net):
    ...     assert any(node.op.name == "add" for node in net)
    """
    menu = Menu(
        **{
            "kinds": KINDS,
            "steps": 3,
            **dict.fromkeys(("residual", "dropout", "several_inputs"), True),
            **dict.fromkeys(("several_outputs", "tied", "odd_names", "foreign"), True),
            **options,
        }
    )
    return _network(menu, first="residual")


def masked_networks(**options: Any) -> st.SearchStrategy[Graph]:
    """Like :func:`networks`, with masks: some layers lack some of their weights and biases, or all.

    >>> @given(testing.masked_networks(kinds=["image2d"]))
    ... def test_missing_weights_are_zero(net):
    ...     assert all(not net.weights[k][~m].any() for k, m in net.weights.masks.items())
    """
    return st.builds(_with_masks, networks(**options), st.integers(0, 9))


def _with_masks(graph: Graph, seed: int) -> Graph:
    rng = np.random.default_rng(seed)
    for name in sorted(graph.maskable()):
        density = rng.choice([0.0, 0.2, 0.6, 0.9, 1.0])
        mask = rng.random(graph.weights[name].shape) < density
        graph.weights.put(name, masked(graph.weights[name], mask), mask)
    return graph


@st.composite
def _network(draw: Draw, menu: Menu, first: str | None = None) -> Graph:
    kind = draw(st.sampled_from(menu.kinds))
    net = Builder(draw, menu, kind)
    x = net.input()
    for index in range(draw(st.integers(1, menu.steps))):
        x = net.step(x, first if index == 0 else None)
    net.finish(x)
    fill(net.graph, draw(st.integers(0, 9)))
    return net.graph


def fill(graph: Graph, seed: int) -> None:
    """Give every parameter random numbers, none of them what a new parameter starts with."""
    rng = np.random.default_rng(seed)
    for name, spec in graph.parameters().items():
        values = rng.standard_normal(spec.shape) * 0.5
        if spec.role in ("weight", "running_var") and spec.init.kind == "constant":
            values = rng.uniform(0.4, 1.8, spec.shape)
            if spec.role == "weight":
                values *= rng.choice([-1, 1], spec.shape)
        elif spec.role == "weight":
            values *= 2.5 / math.sqrt(math.prod(spec.shape[1:]))
        graph.weights[name] = values.astype(np.float32)
