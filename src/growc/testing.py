"""Strategies and assertions for testing passes, ops and backends with hypothesis.

A pass of your own is tested in five lines:

    >>> from hypothesis import given
    >>> from growc import testing
    >>> @given(testing.networks())
    ... def test_my_pass(net):
    ...     testing.assert_preserves(net, MyPass()(net).graph)

hypothesis is needed for this module alone: ``pip install growc[test]``.
"""

from __future__ import annotations

from .grammar import dumps, loads
from .ir import Graph, GrowcError, check_invariants
from .proof import BOTH, compare, compare_runtimes

try:
    from .testing_builder import KINDS
    from .testing_networks import masked_networks, networks, residual_networks
    from .testing_ops import Application, ops, passes, pipelines
except ModuleNotFoundError as missing:
    if missing.name != "hypothesis":
        raise
    raise ImportError(
        "growc.testing needs hypothesis: install it with `pip install growc[test]`"
    ) from missing

__all__ = [
    "KINDS",
    "Application",
    "assert_backends_agree",
    "assert_preserves",
    "assert_round_trips",
    "masked_networks",
    "networks",
    "ops",
    "passes",
    "pipelines",
    "residual_networks",
]


def assert_preserves(
    before: Graph, after: Graph, *, modes: tuple[str, ...] = BOTH, seed: int = 0
) -> None:
    """Assert that two networks compute the same function, up to float64 rounding.

    Both run on the same random examples, in each of ``modes`` (``"eval"``, ``"train"``); see
    :func:`growc.compare`. Raises ``AssertionError`` with the difference and both texts.

        >>> testing.assert_preserves(net, growc.compile(net, "r2wider", verify="none"))
    """
    check_invariants(after)
    try:
        comparison = compare(before, after, modes=modes, seed=seed)
    except GrowcError as error:
        raise AssertionError(str(error)) from error
    if not comparison.agrees:
        worst = comparison.worst
        raise AssertionError(
            f"the function changed: in {worst.mode} mode an output moved by {worst.max_abs:.3g}, "
            f"where it reaches {worst.scale:.3g}\n--- before\n{dumps(before)}\n"
            f"--- after\n{dumps(after)}"
        )


def assert_round_trips(graph: Graph) -> None:
    """Assert that a network's text gives the network back: ``loads(dumps(graph)) == graph``.

    Raises ``AssertionError`` with what the text is read as, or why it cannot be read.

        >>> testing.assert_round_trips(growc.load("net.arch"))
    """
    text = dumps(graph)
    try:
        again = loads(text)
    except GrowcError as error:
        raise AssertionError(f"the text cannot be read back:\n{error}\n--- text\n{text}") from error
    if again != graph:
        raise AssertionError(
            f"the text is read as another network\n--- text\n{text}\n--- read as\n{dumps(again)}"
        )


def assert_backends_agree(graph: Graph, *, seed: int = 0) -> None:
    """Assert that the exported ONNX model computes in onnxruntime what PyTorch computes.

    In evaluation mode and float32, up to :data:`growc.proof.FLOAT32_TOLERANCE`. Raises
    ``AssertionError`` with the difference and the network's text.

        >>> testing.assert_backends_agree(growc.compile("net.arch", "r2wider"))
    """
    from .backends import to_onnx

    comparison, _ = compare_runtimes(graph, to_onnx(graph), seed=seed)
    if not comparison.agrees:
        worst = comparison.worst
        raise AssertionError(
            f"PyTorch and onnxruntime differ by {worst.max_abs:.3g} in an output that reaches "
            f"{worst.scale:.3g}\n--- network\n{dumps(graph)}"
        )
