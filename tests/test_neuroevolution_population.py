"""Populations: who shares what, what training moves, and what is left when models die."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import growc
from growc.search.neuroevolution.checkpoint import History, State, restored, to_bytes
from growc.search.neuroevolution.evaluation import at_once
from growc.search.neuroevolution.mutation import Mutated, draw, parse_mutations
from growc.search.neuroevolution.population import Member, Population
from growc.search.neuroevolution.settings import R2R_MUTATIONS
from growc.train import Settings
from growc.train.checkpoint import Progress, scaler_of
from growc.train.optimization import autocast, loss_of, optimizer_of
from growc.train.sharing import distinct_parameters, sharing_graphs, sharing_modules
from growc.train.stepping import train_step

CPU = torch.device("cpu")
NET = """
net n {
    input image: f32[1, 4, 4]
    x = image -> conv2d(4) -> batch_norm -> relu
    y = x -> conv2d(4) -> batch_norm -> relu -> conv2d(4, kernel=1)
    output z = x + y -> flatten -> linear(3)
}
"""
RATE = 0.05
SETTINGS = Settings(lr=RATE, optimizer="adam")


def first(
    moments: str = "shared", settings: Settings = SETTINGS, statistics: str = "own"
) -> Population:
    graph = growc.loads(NET)
    growc.initialize(graph)
    (module,) = sharing_modules([graph])
    population = Population(moments, statistics)
    optimizer = optimizer_of(settings, [list(module.parameters())])
    population.members.append(Member(0, module, optimizer))
    return population


def mutate(
    population: Population, parent: Member, number: int, text: str = R2R_MUTATIONS, **more: Any
) -> Member:
    (graph,) = sharing_graphs([parent.module])
    random = np.random.default_rng(number)
    taken = population.names()
    drawn = draw(graph, parse_mutations(text), (0.5, 1.0), 0.0, random, seed=number, taken=taken)
    assert isinstance(drawn, Mutated)
    return population.bear(parent, drawn, number, CPU, **more)


def train(member: Member, seed: int = 0, settings: Settings = SETTINGS) -> set[int]:
    """A step; which parameters (by identity) had a gradient that is felt."""
    generator = torch.Generator().manual_seed(seed)
    batch = (torch.randn(8, 1, 4, 4, generator=generator),), (torch.arange(8) % 3,)
    train_step(
        member.module,
        member.optimizer,
        scaler_of(settings, CPU),
        batch,
        loss_of(settings),
        autocast(settings, CPU),
    )
    felt = {
        id(p)
        for p in member.module.parameters()
        if p.grad is not None and float(p.grad.abs().max()) > 1e-6
    }
    member.optimizer.zero_grad()
    return felt


def bits(population: Population) -> dict[int, bytes]:
    """Every parameter's and buffer's present bits, by identity."""
    tensors: list[torch.Tensor] = []
    for member in population.members:
        tensors += [*member.module.parameters(), *member.module.buffers()]
    return {id(t): t.detach().numpy().tobytes() for t in tensors}


def parameters(member: Member) -> dict[str, nn.Parameter]:
    return dict(member.module.named_parameters())


EVENTS = st.lists(
    st.tuples(st.sampled_from(["mutate", "train", "select"]), st.integers(0, 100)), max_size=10
)


@given(EVENTS, st.sampled_from(["shared", "own"]), st.sampled_from(["own", "tied"]))
def test_any_interleaving_keeps_sharing_right(
    events: list[tuple[str, int]], moments: str, statistics: str
) -> None:
    population = first(moments, statistics=statistics)
    refs: list[weakref.ref[Any]] = []
    born = 0
    mutate(population, population.members[0], (born := born + 1))
    for event, chance in [*events, ("select", 0)]:
        before = population.members
        if event == "mutate" and len(before) < 5:
            parent = before[chance % len(before)]
            inherited, taken = parameters(parent), population.names()
            child = mutate(population, parent, (born := born + 1))
            own = parameters(child)
            for name, parameter in inherited.items():
                assert own[name] is parameter
            assert not (own.keys() - inherited.keys()) & taken
            buffers = dict(parent.module.named_buffers())
            for name, buffer in child.module.named_buffers():
                if name in buffers:
                    assert torch.equal(buffer, buffers[name])
            del parent, inherited, child, own, parameter, buffers, buffer
        elif event == "train":
            member = before[chance % len(before)]
            old = bits(population)
            felt = train(member, chance)
            moved = {key for key, value in bits(population).items() if value != old[key]}
            mine = {id(p) for p in member.module.parameters()}
            buffers = {id(b) for b in member.module.buffers()}
            assert moved - buffers <= mine
            assert felt <= moved
            assert buffers <= moved
            refs += [weakref.ref(p) for p in member.module.parameters()]
            for state in member.optimizer.state.values():
                refs += [weakref.ref(v) for v in state.values()]
            del member, state
        elif event == "select":
            keep = 1 + chance % len(before)
            start = chance % (len(before) - keep + 1)
            population.keep(before[start : start + keep])
        del before
        _require_sharing(population)
        if statistics == "tied":
            _require_the_same_at_once(population)
    gc.collect()
    alive = {id(p) for p in distinct_parameters(m.module for m in population.members)}
    for member in population.members:
        alive |= {id(v) for s in member.optimizer.state.values() for v in s.values()}
    assert {id(r()) for r in refs if r() is not None} <= alive


def _require_the_same_at_once(population: Population) -> None:
    """As one graph, members compute what they do one by one."""
    images = torch.randn(4, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    merged = at_once(population.graphs(), CPU)(images)
    for member, found in zip(population.members, merged, strict=True):
        with torch.no_grad():
            alone = member.module.eval()(images)
        member.module.train()
        torch.testing.assert_close(found, alone, rtol=1e-4, atol=1e-5)


def _require_sharing(population: Population) -> None:
    """One name, one parameter; one parameter, one array and one state."""
    named: dict[str, int] = {}
    arrays: dict[str, int] = {}
    states: dict[str, set[int]] = {}
    for member, graph in zip(population.members, population.graphs(), strict=True):
        own = parameters(member)
        assert {id(p) for g in member.optimizer.param_groups for p in g["params"]} == {
            id(p) for p in own.values()
        }
        for name, parameter in own.items():
            assert named.setdefault(name, id(parameter)) == id(parameter)
            array = graph.weights[name]
            assert arrays.setdefault(name, id(array)) == id(array)
            states.setdefault(name, set()).add(id(member.optimizer.state[parameter]))
    for name, found in states.items():
        owners = sum(name in parameters(m) for m in population.members)
        assert len(found) == (1 if population.moments == "shared" else owners)
    _require_statistics(population)
    sizes = {id(p): p.numel() for m in population.members for p in m.module.parameters()}
    assert population.parameter_count() == sum(sizes.values())


def _require_statistics(population: Population) -> None:
    """A running statistic is two members' if they are told to tie them, and nothing that it is of
    differs between them."""
    owners: dict[tuple[str, int], Any] = {}
    of: dict[tuple[str, Any], int] = {}
    for member, graph in zip(population.members, population.graphs(), strict=True):
        made: dict[str, Any] = {}
        named = dict(member.module.named_buffers())
        for node in graph:
            params = graph.params_of(node.name)
            own = tuple(id(graph.weights[k]) for k, s in params if s.trainable)
            made[node.name] = node.op, own, tuple(made[o] for o in node.operands)
            for key, spec in params:
                if not spec.trainable:
                    before = made[node.name]
                    if population.statistics == "own":
                        before = before, member.number
                    assert owners.setdefault((key, id(named[key])), before) == before
                    assert of.setdefault((key, before), id(named[key])) == id(named[key])


def test_a_child_computes_what_its_parent_does_and_keeps_its_knowledge() -> None:
    population = first("own")
    parent = population.members[0]
    train(parent, 1)
    child = mutate(population, parent, 1)
    images = torch.randn(5, 1, 4, 4)
    for mode in (True, False):
        outputs = [m.module.train(mode)(images) for m in (parent, child)]
        torch.testing.assert_close(outputs[0], outputs[1], rtol=1e-5, atol=1e-6)
    for name, parameter in parameters(parent).items():
        before, after = parent.optimizer.state[parameter], child.optimizer.state[parameter]
        assert before is not after
        assert torch.equal(before["exp_avg"], after["exp_avg"]), name
    count = [sum(p.numel() for p in m.module.parameters()) for m in (parent, child)]
    rate = child.optimizer.param_groups[0]["lr"]
    assert rate == pytest.approx(RATE * count[0] / count[1], rel=1e-12)
    assert rate == child.optimizer.param_groups[0]["initial_lr"]


def test_siblings_with_shared_moments_train_as_one_optimizer_would() -> None:
    """Two models that are the same network, stepped in turn, are one model stepped twice."""
    alone, both = first(), first()
    text = "1: r2wider"
    mutate(both, both.members[0], 1, text, scale_lr=False)
    mutate(alone, alone.members[0], 1, text, scale_lr=False)
    alone.keep(alone.members[1:])
    # A second member with all that the first child has: a child of it without anything new.
    child = both.members[1]
    (graph,) = sharing_graphs([child.module])
    (twin,) = sharing_modules([graph], made=[(graph, child.module)])
    optimizer = optimizer_of(SETTINGS, [list(twin.parameters())])
    both.members = [child, Member(2, twin, optimizer)]
    both.link()
    for seed in range(4):
        train(alone.members[0], seed)
        train(both.members[seed % 2], seed)
    for name, parameter in parameters(alone.members[0]).items():
        assert torch.equal(parameter, parameters(both.members[0])[name]), name


@pytest.mark.parametrize(("lr", "decay"), [(True, False), (False, True), (True, True)])
def test_what_is_scaled_at_birth(lr: bool, decay: bool) -> None:
    settings = Settings(lr=RATE, weight_decay=0.1)
    population = first(settings=settings)
    child = mutate(population, population.members[0], 1, scale_lr=lr, scale_weight_decay=decay)
    count = [sum(p.numel() for p in m.module.parameters()) for m in population.members]
    (group,) = child.optimizer.param_groups
    ratio = count[0] / count[1]
    assert group["lr"] == pytest.approx(RATE * (ratio if lr else 1))
    assert group["weight_decay"] == pytest.approx(0.1 * (ratio if decay else 1))


def test_a_pass_that_widens_a_parameter_does_not_share_it() -> None:
    population = first()
    train(population.members[0])
    parent = population.members[0]
    child = mutate(population, parent, 1, "1: r2wider{variant=concat}")
    before, after = parameters(parent), parameters(child)
    shared = {name for name in before if after[name] is before[name]}
    wider = {name for name in before if after[name].shape != before[name].shape}
    assert wider
    assert shared == before.keys() - wider
    for name in wider:  # what was known of it is known of its part
        assert "exp_avg" in child.optimizer.state[after[name]]
        assert child.optimizer.state[after[name]] is not parent.optimizer.state[before[name]]


@pytest.mark.parametrize(("moments", "statistics"), [("shared", "own"), ("own", "tied")])
def test_a_checkpoint_gives_the_population_back(
    moments: str, statistics: str, tmp_path: Any
) -> None:
    population = first(moments, statistics=statistics)
    for number, parent in enumerate((0, 1, 0), 1):
        mutate(population, population.members[parent], number)
    for seed in range(6):
        train(population.members[seed % 4], seed)
    history = History(2, [{"model": m.number, "died": None} for m in population.members])
    state = State(population, scaler_of(SETTINGS, CPU), Progress(update=6), history)
    stored = to_bytes(state, {"some": "run"})
    (tmp_path / "checkpoint.pt").write_bytes(stored)
    content = growc.train.checkpoint.read(tmp_path / "checkpoint.pt")
    again = restored(tmp_path / "checkpoint.pt", content, SETTINGS, CPU)
    assert again.history == state.history
    twin = again.population
    _require_sharing(twin)
    assert twin.parameter_count() == population.parameter_count()
    for seed in range(6, 12):
        train(population.members[seed % 4], seed)
        train(twin.members[seed % 4], seed)
    for a, b in zip(population.members, twin.members, strict=True):
        before, after = a.module.state_dict(), b.module.state_dict()
        assert list(before) == list(after)
        for name, value in before.items():
            assert torch.equal(value, after[name]), name


def test_a_checkpoint_has_what_is_shared_once(tmp_path: Any) -> None:
    """The file is near to the distinct parameters with their two moments."""
    population = first()
    graph = growc.loads(NET.replace("conv2d(4)", "conv2d(64)").replace("(4, k", "(64, k"))
    growc.initialize(graph)
    (module,) = sharing_modules([graph])
    optimizer = optimizer_of(SETTINGS, [list(module.parameters())])
    population.members = [Member(0, module, optimizer)]
    text = "1: r2deeper{filters=2, kernel=1}"
    train(population.members[0])
    for number in range(1, 5):
        mutate(population, population.members[0], number, text)
    state = State(population, scaler_of(SETTINGS, CPU), Progress(), History())
    wanted = 3 * 4 * population.parameter_count()
    total = sum(p.numel() for m in population.members for p in m.module.parameters())
    assert total > 3 * population.parameter_count()
    assert wanted < len(to_bytes(state, {})) < 1.5 * wanted


def test_modules_of_graphs_share_what_the_graphs_share() -> None:
    """Also graphs that nobody mutated: by name and array, and never running statistics."""
    graph = growc.loads(NET)
    growc.initialize(graph)
    other = growc.compile(graph, "r2deeper")
    apart = growc.loads(NET)
    growc.initialize(apart)
    a, b, c = sharing_modules([graph, other, apart])
    names = dict(b.named_parameters())
    assert all(names[name] is p for name, p in a.named_parameters())
    assert not {*a.parameters()} & {*c.parameters()}
    assert not {*map(id, a.buffers())} & {*map(id, b.buffers())}
    views = sharing_graphs([a, b, c])
    shared = [n for n in views[0].weights if views[0].weights[n] is views[1].weights[n]]
    assert sorted(shared) == sorted(n for n, _ in a.named_parameters())
