"""Channel fingerprints: what each channel of each tensor computes, as a random evaluation.

A channel is a function of the inputs. Its fingerprint is the value of that function, read as a
polynomial over the integers modulo a prime, at a random point: the channels of the inputs and the
results of non-linear operators are the variables. Channels that are equal as polynomials have
equal fingerprints; others differ, but for a probability below 2^-100. docs/verification.md has
the argument.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..ir import Graph, Node, Op, TensorType
from ..ir.ops import Attention, BatchNorm, Dropout
from ..ir.weights import Array
from .field import Field, Residues


@dataclass(frozen=True, slots=True, eq=False)
class Print:
    """Fingerprints of a tensor: one for each index of its channel ``axis``, [channels, lanes].

    The other axes (height and width, or tokens) are not looked into: a fingerprint stands for
    all numbers of its channel. Channels that are the same numbers repeated along other axes have
    the same fingerprint as what is repeated, as sums and products of repeated tensors are repeated
    sums and products. So channels are equal where their fingerprints and the sizes of their other
    axes are; and the name of an opaque function tells these sizes, unless it acts on each number
    alone.
    """

    axis: int
    values: Residues
    digest: bytes

    @classmethod
    def of(cls, axis: int, values: Residues) -> Print:
        content = np.ascontiguousarray(values)
        digest = hashlib.blake2b(content.tobytes(), digest_size=16, salt=axis.to_bytes(8, "little"))
        return cls(axis, content, digest.digest())


@dataclass(slots=True)
class Site:
    """One node as its rule sees it."""

    field: Field
    mode: str
    node: Node
    op: Any
    inputs: tuple[Print, ...]
    types: tuple[TensorType, ...]
    parameters: dict[str, Array]
    axis: int = 0
    """The axis of the result that its fingerprints should follow, where the op leaves a choice."""

    @property
    def x(self) -> Print:
        return self.inputs[0]

    @property
    def rest(self) -> tuple[int, ...]:
        """The first operand's shape without its channel axis."""
        return without(self.types[0].shape, self.x.axis)

    @property
    def kind(self) -> tuple[object, ...]:
        """What the op is, with all its attributes: the name of an opaque function."""
        return (self.op.name, *(getattr(self.op, a.name) for a in self.op.attributes))


@dataclass(frozen=True, slots=True, eq=False)
class Product:
    """A layer's result still to be computed: weights [G, O, I] times operand [G, I, lanes], along
    ``axis``, plus the layer's bias."""

    weights: Array
    operand: Residues
    axis: int


Rule = Callable[[Site], Print | Product | None]
"""Fingerprints of a node's result; None where the rule does not apply."""

_RULES: dict[type[Op], Rule] = {}


def rule(*classes: type[Op]) -> Callable[[Rule], Rule]:
    """Declare the rule for ops of these classes and their subclasses."""

    def declare(function: Rule) -> Rule:
        for cls in classes:
            _RULES[cls] = function
        return function

    return declare


def rule_of(op: type[Op]) -> Rule | None:
    """The rule for an op class, or None: the op is opaque in all its operands."""
    return next((_RULES[cls] for cls in op.__mro__ if cls in _RULES), None)


def without(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    return shape[:axis] + shape[axis + 1 :]


class Fingerprinter:
    """Fingerprints of graphs over one field.

    Results are kept by op, parameter arrays and operand fingerprints: what two graphs share is
    computed once, so that the cost of a proof follows the change.
    """

    def __init__(self, field: Field) -> None:
        self.field = field
        self._known: dict[tuple[object, ...], Print] = {}
        self._arrays: dict[int, Array] = {}

    def __call__(self, graph: Graph, mode: str, last: Container[str]) -> dict[str, Print]:
        """Fingerprints of every node, in ``"eval"`` or ``"train"`` mode.

        ``last`` are the nodes whose channels lie on the last axis (:func:`prefers_last`).
        """
        return self.in_modes(graph, (mode,), last)[mode]

    def in_modes(
        self, graph: Graph, modes: Sequence[str], last: Container[str]
    ) -> dict[str, dict[str, Print]]:
        """Fingerprints of every node, by mode: cheaper than one mode after the other."""
        found: dict[str, dict[str, Print]] = {mode: {} for mode in modes}
        for node in graph:
            axis = max(0, node.type.rank - 1) if node.name in last else 0
            if node.name in graph.inputs:
                given = self._input(node, axis)
                for mode in modes:
                    found[mode][node.name] = given
                continue
            # α ⊙ W, which is the stored array itself: identities are what results are kept by.
            weights = graph.weights
            parameters = {s.role: weights.effective(k) for k, s in graph.params_of(node.name)}
            types = graph.operand_types(node)
            sites = {}
            for mode in modes:
                inputs = tuple(found[mode][o] for o in node.operands)
                sites[mode] = Site(self.field, mode, node, node.op, inputs, types, parameters, axis)
            for mode, result in self._node(sites).items():
                found[mode][node.name] = result
        return found

    def _input(self, node: Node, axis: int) -> Print:
        count = node.type.shape[axis] if node.type.shape else 1
        numbers = self.field.numbers(count)
        return Print.of(axis, self.field.each(numbers, "input", node.name, node.type.shape, axis))

    def _node(self, sites: dict[str, Site]) -> dict[str, Print]:
        """The result in every mode; what is known already is looked up."""
        keys = {mode: _key(site) for mode, site in sites.items()}
        products: dict[tuple[object, ...], tuple[Site, Product]] = {}
        for mode, site in sites.items():
            key = keys[mode]
            if key in self._known or key in products:
                continue
            own = rule_of(type(site.op))
            made = own(site) if own is not None else None
            if isinstance(made, Product):
                products[key] = site, made
            else:
                self._known[key] = made if made is not None else opaque(site)
            # The arrays stay alive as long as their identities are keys.
            self._arrays.update((id(array), array) for array in site.parameters.values())
        if products:
            self._multiply(products)
        return {mode: self._known[key] for mode, key in keys.items()}

    def _multiply(self, products: dict[tuple[object, ...], tuple[Site, Product]]) -> None:
        """One layer's products in several modes, side by side: most of the work is taking its
        weights apart."""
        weights = next(iter(products.values()))[1].weights
        operands = np.concatenate([p.operand for _, p in products.values()], axis=-1)
        results = np.split(self.field.matmul(weights, operands), len(products), axis=-1)
        for (key, (site, product)), result in zip(products.items(), results, strict=True):
            values = result.reshape(-1, self.field.lanes)
            if "bias" in site.parameters:
                values = (values + self.field.embed(site.parameters["bias"])) % self.field.primes
            self._known[key] = Print.of(product.axis, values)


def _key(site: Site) -> tuple[object, ...]:
    """What a result depends on. The mode counts for ops that differ by it."""
    by_mode = isinstance(site.op, BatchNorm) or rule_of(type(site.op)) is None
    return (
        site.mode if by_mode or _draws(site.op) else None,
        site.op,
        site.axis,
        site.node.name if _draws(site.op) else None,
        tuple(id(array) for array in site.parameters.values()),
        tuple(p.digest for p in site.inputs),
        site.types,
    )


def _draws(op: Op) -> bool:
    """Whether an op draws random masks in train mode, by its own name."""
    return isinstance(op, Dropout) or (isinstance(op, Attention) and op.dropout > 0)


def opaque(site: Site) -> Print:
    """A result of which nothing is known but what it is made from: always sound."""
    result, axis = site.node.type, site.axis
    count = result.shape[axis] if result.shape else 1
    content = hashlib.blake2b(digest_size=32)
    for part in site.inputs:
        content.update(part.digest)
    for array in site.parameters.values():
        content.update(repr(array.shape).encode())
        content.update(np.ascontiguousarray(array).tobytes())
    drawn = site.node.name if _draws(site.op) else None
    words = (site.kind, content.hexdigest(), axis, site.mode, drawn)
    shapes = tuple(t.shape for t in site.types)
    numbers = site.field.numbers(count)
    return Print.of(axis, site.field.each(numbers, "opaque", words, shapes))


# ---- other views of a tensor


def canonical(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape without axes of size 1 in front, which repeating never needs."""
    return next((shape[i:] for i, n in enumerate(shape) if n != 1), ())


def along(field: Field, x: Print, shape: tuple[int, ...], axis: int) -> Residues:
    """The channels of a tensor along ``axis``. Where its fingerprints follow another axis, each is
    opaque in the whole tensor and in its own number."""
    if x.axis == axis:
        return x.values
    if not x.values.any():
        return np.zeros((shape[axis], field.lanes), np.int64)
    return field.each(field.numbers(shape[axis]), "along another axis", axis, shape, x.digest.hex())


def whole(field: Field, x: Print, shape: tuple[int, ...]) -> Residues:
    """A whole tensor as one channel, [1, lanes]: zero if all of it is zero.

    Where the tensor is one channel repeated along axes in front, it is that channel.
    """
    first = x.values[:1]
    if (x.values == first).all():
        in_front = x.axis == 0 or not canonical(without(shape, x.axis))
        if in_front or not first.any():
            return first
    return field.each(field.numbers(1), "whole", shape, x.digest.hex())


def split(field: Field, whole: Residues, shape: tuple[int, ...], axis: int) -> Print:
    """The channels along ``axis`` of a tensor of which the fingerprint of the whole is known."""
    if not shape:
        return Print.of(0, whole)
    rest = without(shape, axis)
    return Print.of(axis, parts(field, whole, shape, shape[:axis], shape[axis], rest)[0])


def parts(
    field: Field,
    values: Residues,
    shape: tuple[int, ...],
    before: tuple[int, ...],
    count: int,
    rest: tuple[int, ...],
) -> Residues:
    """Each channel, of this ``shape``, cut into ``count``: [channels, count, lanes].

    Row by row, a channel has as many rows as ``before`` says; each is cut into equal parts, and
    part s of all rows, in the shape ``rest``, is opaque in the channel and s.
    """
    if count == 1:
        return reshaped(field, values, shape, rest)[:, None]
    numbers = np.broadcast_to(field.numbers(count), (len(values), count, field.lanes))
    repeated = np.broadcast_to(values[:, None], numbers.shape)
    words = ("part", math.prod(before), count, canonical(shape), canonical(rest))
    found = field.scramble(stack([repeated, numbers]), *words)
    found[~values.any(axis=-1)] = 0
    return found


def reshaped(
    field: Field, values: Residues, shape: tuple[int, ...], result: tuple[int, ...]
) -> Residues:
    """Each channel's numbers in another shape."""
    if canonical(shape) == canonical(result):
        return values
    return field.each(values, "reshaped", canonical(shape), canonical(result), zero=True)


def stack(parts: Sequence[Residues]) -> Residues:
    """Rows of several residues, for :meth:`Field.scramble`: k of [..., lanes] → [..., k, lanes]."""
    return np.stack(list(parts), axis=-2)
