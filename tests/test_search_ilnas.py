"""ILNAS: what may be added, what is chosen, and that the choice becomes what it said."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

import growc
from growc import GrowcError, check_invariants, loads, testing
from growc.compiler import run
from growc.ir.parts import shared_size, sizes
from growc.search.ilnas import Ilnas, Task, baseline, joint_baseline
from growc.search.ilnas.choosing import (
    GRANULARITIES,
    ahead,
    best,
    best_of_parts,
    entries,
    price_of,
    rooms,
    scores,
    units_of,
    worth,
)
from growc.search.ilnas.expansion import pipeline_of
from growc.search.ilnas.scoring import Hypernet
from growc.search.ilnas.space import MAX_CONVS, Space, conv_depth, scaffold
from growc.train.searching import Look

torch.set_num_threads(1)

SLOW = settings(deadline=None, max_examples=max(10, settings.default.max_examples // 2))

IMAGES = """net n {
    input x: f32[2, 6, 6]
    a = x -> conv2d(4, bias=false) -> batch_norm -> relu
    b = a -> conv2d(3) -> batch_norm -> relu
    c = b -> conv2d(4) -> relu -> max_pool2d(2)
    output y = c -> flatten -> linear(5) -> relu -> linear(3)
}"""


def images():
    graph = loads(IMAGES)
    growc.initialize(graph)
    return graph


def expanded(made, units, taken, seed):
    """The network with the units, proved as a whole."""
    compiled = run(made.start, pipeline_of(made, entries(made, units, taken), seed), together=True)
    assert compiled.whole.verdict == "proved"
    assert compiled.modes == ("eval", "train")
    check_invariants(compiled.graph)
    return compiled.graph


# ---- any network


@SLOW
@given(data=st.data())
def test_any_sequence_of_expansions_is_proved_and_counts_what_it_adds(data):
    graph = data.draw(testing.masked_networks(steps=3) | testing.residual_networks(steps=2))
    for seed in range(data.draw(st.integers(1, 3))):
        space = Space(
            nodes=data.draw(st.integers(0, 3)),
            sources=data.draw(st.integers(0, 4)),
            layers=data.draw(st.integers(0, 2)),
        )
        made = scaffold(graph, space, seed)
        units = units_of(made, data.draw(st.sampled_from(GRANULARITIES)))
        assert int(units.size.sum()) == made.candidates
        limit = data.draw(st.integers(0, 200))
        score = np.random.default_rng(seed).random(len(units.size)) + 1
        taken = best(made, units, score, limit)
        price = price_of(made, units, taken)
        assert price <= limit
        assume(taken.any())
        grown = expanded(made, units, taken, seed)
        assert grown.parameter_count() == graph.parameter_count() + price
        graph = grown


@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("seed", range(4))
def test_what_is_added_is_what_the_gradients_were_of(granularity, seed):
    """The connections that the pipeline adds have the gradients that the scaffold's had."""
    graph = images()
    x, y = torch.randn(8, 2, 6, 6), torch.arange(8) % 3
    for step in range(2):  # the second time, layers have masks and connections beside them
        made = scaffold(graph, Space(nodes=3, sources=9, layers=2), seed)
        gradients = Hypernet(made, torch.device("cpu")).gradients([((x,), (y,))], F.cross_entropy)
        units = units_of(made, granularity)
        score = np.random.default_rng(seed + step).random(len(units.size)) + 1
        taken = best(made, units, score, 150)
        chosen = entries(made, units, taken)
        grown = expanded(made, units, taken, seed)
        after = _gradients(grown, x, y)
        compared = 0
        for key, mask in chosen.items():
            if key not in grown.weights:
                continue  # what is new has another number in its name if some is not kept
            new = grown.weights.mask(key) & (grown.weights[key] == 0)
            rows = np.where(mask.any(axis=tuple(range(1, mask.ndim))))[0]
            wanted = np.sort(gradients[key][mask])
            found = np.sort(after[key][: rows.max() + 1][new[: rows.max() + 1]])
            if "new_layer" not in key and not _had_zeros(graph, key):
                np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)
                compared += len(wanted)
        assert compared or granularity == "layer"
        graph = _shaken(grown)


def _had_zeros(graph, key):
    """Whether a parameter had zeros that are no missing connections."""
    return key in graph.weights and bool(
        (graph.weights.mask(key) & (graph.weights[key] == 0)).any()
    )


def _gradients(graph, x, y):
    dense = graph.copy()
    dense.weights.masks.clear()
    model = growc.to_torch(dense).train()
    F.cross_entropy(model(x), y).backward()
    return {k: p.grad.double().numpy() for k, p in model.named_parameters()}


def _shaken(graph):
    """The network with other weights where it has connections."""
    other = graph.copy()
    rng = np.random.default_rng(0)
    for key, spec in graph.parameters().items():
        if spec.role in ("weight", "bias"):
            moved = graph.weights[key] + rng.normal(0, 0.1, spec.shape).astype(np.float32)
            mask = graph.weights.mask(key)
            other.weights.put(key, np.where(mask, moved, np.float32(0)), mask)
    return other


# ---- the selection is the paper's


def test_the_choice_is_that_of_brute_force():
    """Each derivative by finite differences, each step and each ranking by hand."""
    graph = loads("net n { input x: f32[4]\n y = x -> linear(5) as a -> relu -> linear(4) as b "
                  "-> relu\n output z = y -> linear(3) as c }")  # fmt: skip
    growc.initialize(graph, 1)
    rng = np.random.default_rng(3)
    for key in ("a.weight", "b.weight", "c.weight"):
        mask = rng.random(graph.weights[key].shape) < 0.5
        graph.weights.put(key, np.where(mask, graph.weights[key], np.float32(0)), mask)
    x, y = torch.randn(16, 4, generator=torch.Generator().manual_seed(0)), torch.arange(16) % 3
    rate, m, n = 3.0, 4, 8
    search = Ilnas(max_params=1000, arch_lr=m / graph.parameter_count(), granularity="weight",
                   ratio=n / m, nodes=0, sources=0, layers=0)  # fmt: skip
    look = Look(graph=graph, index=0, left=1, seed=0, rate=rate,
                batches=lambda k: [((x,), (y,))] * k, loss_of=F.cross_entropy,
                total=lambda t: t, processes=1, device=torch.device("cpu"))  # fmt: skip
    choice = search.choose(look)
    grown = run(graph, choice.passes).graph
    found = {
        (key, tuple(i))
        for key in graph.weights.masks
        for i in np.argwhere(grown.weights.mask(key) & ~graph.weights.masks[key])
    }

    keys = ("a.weight", "a.bias", "b.weight", "b.bias", "c.weight", "c.bias")
    start = {k: graph.weights[k].astype(np.float64) for k in keys}
    masks = {k: graph.weights.mask(k) for k in keys}

    def loss(w):
        h = x.double().numpy()
        for name in "abc":
            h = h @ w[f"{name}.weight"].T + w[f"{name}.bias"]
            h = h if name == "c" else np.maximum(h, 0)
        return float(F.cross_entropy(torch.from_numpy(h), y))

    def slope(w, key, i, eps=1e-6):
        sides = []
        for sign in (1, -1):
            moved = {k: v.copy() for k, v in w.items()}
            moved[key][i] += sign * eps
            sides.append(loss(moved))
        return (sides[0] - sides[1]) / (2 * eps)

    places = [(k, i) for k in keys for i in np.ndindex(start[k].shape)]
    missing = [(k, i) for k, i in places if not masks[k][i]]
    first = {p: slope(start, *p) for p in places}
    candidates = sorted(missing, key=lambda p: -abs(first[p]))[:n]
    moved = {k: v.copy() for k, v in start.items()}
    for k, i in places:
        if masks[k][i] or (k, i) in candidates:
            moved[k][i] -= rate * first[k, i]
    both = {p: first[p] + slope(moved, *p) for p in candidates}
    wanted = sorted(candidates, key=lambda p: -abs(both[p]))[:m]
    assert found == set(wanted)
    assert set(wanted) != set(candidates[:m])  # the second gradient made a difference
    assert choice.notes["candidates"] == len(missing)
    assert choice.notes["hyperarchitecture"] == n
    assert choice.notes["added"] == m


def test_what_opens_a_node_or_a_layer_pays_for_it():
    made = scaffold(images(), Space(nodes=2, sources=0, layers=0), 0)
    units = units_of(made, "weight")
    (node,) = {o for o in made.openers if o.addition.at == ("b.conv2d",) and o.number == 1}
    assert node.cost == 4 * 9 + 1 + 2  # incoming weights, bias, the batch norm's two
    number = made.openers.index(node)
    mine = np.flatnonzero(units.opener == number)
    score = np.zeros(len(units.size))
    score[mine[:3]] = [3, 2, 1]
    assert price_of(made, units, best(made, units, score, 1000)) == node.cost + 3
    assert best(made, units, score, node.cost + 2).nonzero()[0].tolist() == mine[:2].tolist()
    assert not best(made, units, score, node.cost).any()


def test_a_unit_that_does_not_fit_is_passed_over():
    made = scaffold(images(), Space(nodes=2, sources=0, layers=0), 0)
    units = units_of(made, "weight")
    score = np.linspace(2, 1, len(units.size))
    costs = {o.cost for o in made.openers}
    limit = min(costs)  # no placeholder's connection fits
    taken = best(made, units, score, limit)
    assert not taken.any()  # dense layers have nothing else missing
    taken = best(made, units, score, max(costs) + 5)
    assert 0 < price_of(made, units, taken) <= max(costs) + 5


def test_scores_are_the_root_of_the_mean_square():
    made = scaffold(images(), Space(nodes=1, sources=9, layers=0), 0)
    rng = np.random.default_rng(0)
    gradients = {f.key: rng.normal(size=f.missing.shape) for f in made.fields}
    for granularity in GRANULARITIES:
        units = units_of(made, granularity)
        score = scores(made, units, gradients)
        for i in range(0, len(units.size), 7):
            one = np.zeros(len(units.size), bool)
            one[i] = True
            ((key, mask),) = entries(made, units, one).items()
            assert mask.sum() == units.size[i]
            assert score[i] == pytest.approx(np.sqrt((gradients[key][mask] ** 2).mean()))


# ---- how much


def test_the_rate_reaches_the_largest_size_in_the_expansions_there_are():
    for decay, total in itertools.product((1.0, 0.9), (1, 3, 10)):
        search = Ilnas(max_params=5000, decay=decay)
        count, added = 1000, []
        for index in range(total):
            added.append(search.additions(count, index, total - index))
            count += added[-1]
        assert count == 5000
        if decay < 1 and total > 1:
            rates = np.array(added) / (5000 - np.cumsum(added[::-1])[::-1])
            np.testing.assert_allclose(rates[1:] / rates[:-1], decay, rtol=0.02)


def test_a_given_rate_falls_and_never_passes_the_budget():
    search = Ilnas(max_params=1300, arch_lr=0.1, decay=0.5)
    assert [search.additions(1000, i, 9) for i in range(3)] == [100, 50, 25]
    assert search.additions(1290, 0, 9) == 10
    assert search.additions(1300, 0, 9) == 0


def test_a_network_that_is_too_large_is_refused():
    assert Ilnas(max_params=10).check(images()) == (
        f"the network has {images().parameter_count()} parameters already, and max_params is 10"
    )


# ---- limits


def test_candidates_are_bounded():
    graph = images()
    whole = scaffold(graph, Space(nodes=8), 0).candidates
    for limit in (whole, whole // 2, whole // 8, 1):
        made = scaffold(graph, Space(nodes=8, max_candidates=limit), 0)
        assert made.candidates <= limit


def test_no_more_than_64_convolutions():
    layers = " ".join("-> conv2d(2) -> relu" for _ in range(MAX_CONVS - 1))
    graph = loads(f"net n {{ input x: f32[2, 4, 4]\noutput y = x {layers} -> flatten "
                  "-> linear(2) }")  # fmt: skip
    growc.initialize(graph)
    made = scaffold(graph, Space(nodes=0, sources=0, layers=5), 0)
    assert conv_depth(made.graph) == MAX_CONVS


def test_layers_that_take_no_single_node_get_no_placeholders():
    wide = loads("net n { input x: f32[2]\noutput y = x -> linear(1020) as a -> relu -> linear(8) "
                 "as b -> relu -> linear(2) }")  # fmt: skip
    groups = loads("net n { input x: f32[2, 4, 4]\noutput y = x -> conv2d(4) as a -> group_norm(2)"
                   " -> relu -> conv2d(8) as b -> relu -> conv2d(2) }")  # fmt: skip
    for graph in (wide, groups):
        growc.initialize(graph)
        made = scaffold(graph, Space(nodes=8, sources=0, layers=0), 0)
        assert set(made.nodes) == {"b"}


# ---- the template


@pytest.mark.parametrize("seed", range(3))
def test_a_baseline_is_as_large_as_asked_and_irregular(seed):
    graph = baseline((3, 32, 32), 10, 50_000, seed)
    assert 42_000 < graph.parameter_count() <= 50_000
    assert graph.weights.masks
    for mask in graph.weights.masks.values():
        kernels = mask.any(axis=(2, 3))
        assert (kernels == mask.all(axis=(2, 3))).all()
        assert kernels.any(axis=0).all()
        assert kernels.any(axis=1).all()
    assert not baseline((3, 32, 32), 10, 50_000, seed, dense=True).weights.masks
    assert growc.loads(growc.dumps(graph)).order() == graph.order()


def test_a_baseline_that_cannot_be():
    with pytest.raises(GrowcError, match=r"has [0-9]+ parameters, more than 20"):
        baseline((1, 28, 28), 10, 20, 0)
    with pytest.raises(GrowcError, match="the template halves images 3 times"):
        baseline((64,), 10, 5000, 0)


def test_a_new_node_is_judged_with_what_reads_it():
    """By the loss's fall for each parameter, to first order: brute force over all sets."""
    made = scaffold(images(), Space(nodes=2, sources=0, layers=0), 0)
    units = units_of(made, "weight")
    rng = np.random.default_rng(0)
    score = rng.random(len(units.size)) * (rng.random(len(units.size)) < 0.5)
    found = worth(made, units, score)
    for i, opener in enumerate(made.openers):
        mine = np.flatnonzero((units.opener == i) & (score > 0))[:10]
        assert len(mine)
        others = np.zeros(len(score), bool)
        others[mine] = True
        alone = worth(made, units, np.where(others, score, 0.0))
        best_ratio = max(
            (score[list(chosen)] ** 2).sum() / (opener.cost + len(chosen))
            for n in range(1, len(mine) + 1)
            for chosen in itertools.combinations(mine, n)
        )
        assert alone[mine].max() == pytest.approx(best_ratio**0.5)
    there = units.opener < 0
    np.testing.assert_array_equal(found[there], score[there])
    assert (found <= score.max()).all()


# ---- several tasks

TASKS = (Task("a", (2, 8, 8), 3), Task("b", (2, 12, 9), 5))


@SLOW
@given(data=st.data())
def test_networks_of_several_tasks_grow_part_by_part(data):
    """Whatever is added is proved, and leaves each task without the images of the others."""
    share = data.draw(st.sampled_from([0.0, 0.2, 0.6]))
    graph = joint_baseline(TASKS, 2500, data.draw(st.integers(0, 99)), share)
    for seed in range(2):
        made = scaffold(graph, Space(nodes=3, sources=4, layers=2), seed)
        units = units_of(made, data.draw(st.sampled_from(GRANULARITIES)))
        limit = data.draw(st.integers(0, 400))
        room = rooms(graph, limit, share)
        assert room.shared + sum(room.own.values()) <= limit
        score = np.random.default_rng(seed).random(len(units.size)) + 1
        taken = best_of_parts(made, units, score, limit, room)
        price = price_of(made, units, taken)
        assert price <= limit
        assume(taken.any())
        grown = expanded(made, units, taken, seed)
        assert grown.parameter_count() == graph.parameter_count() + price
        graph = grown
    assert sum(sizes(graph).values()) == graph.parameter_count()
    for output, images in (("a", "a_image"), ("b", "b_image")):
        assert _inputs_of(graph, graph.outputs[output]) == {images}
    if share:
        key = graph.node(graph.twins("shared.stage1.conv1")[0]).parameter("weight")
        for name in ("a.stage1.conv1", "b.stage1.conv1"):
            # Together they are one layer of a task: a connection is in one of them.
            assert not (graph.weights.mask(key) & graph.weights.mask(f"{name}.weight")).any()


@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_of_a_connection_that_both_lack_one_gets_it(granularity):
    """Without a wanted share: a place is shared or a task's own, whoever has the higher score."""
    made = scaffold(joint_baseline(TASKS, 2500, 3, 0.2), Space(nodes=2, sources=0), 0)
    units = units_of(made, granularity)
    score = np.random.default_rng(0).integers(1, 4, len(units.size)).astype(float)
    taken = ahead(made, units, score)
    index = {field.key: i for i, field in enumerate(made.fields)}
    of = {(f, n): u for u, (f, n) in enumerate(zip(units.field, units.label, strict=True))}
    pairs = [
        (u, of[index[key], label])
        for (i, label), u in of.items()
        for key in made.fields[i].same_place
        if (index.get(key), label) in of
    ]
    assert len(pairs) >= 20
    for a, b in pairs:
        assert not (taken[a] and taken[b])
        if score[a] > score[b]:
            assert not taken[b]
    # All others stay, and of those that have rivals, whoever has the highest score of all.
    rivals = {u: [b for a, b in pairs if a == u] for u, _ in pairs}
    for u in np.flatnonzero(~taken):
        assert max(score[r] for r in rivals[u]) >= score[u]
    for u in range(len(score)):
        if all(score[u] > score[r] for r in rivals.get(u, [])):
            assert taken[u]
    graph = expanded(made, units, best(made, units, score, 10**6, taken), 0)
    key = graph.node(graph.twins("shared.stage1.conv1")[0]).parameter("weight")
    for name in ("a.stage1.conv1", "b.stage1.conv1"):
        assert not (graph.weights.mask(key) & graph.weights.mask(f"{name}.weight")).any()


def _inputs_of(graph, name):
    found, stack = set(), [name]
    while stack:
        node = graph.node(stack.pop())
        stack += node.operands
        if not node.operands:
            found.add(node.name)
    return found


@pytest.mark.parametrize("share", [0.0, 0.2, 0.8])
@pytest.mark.parametrize("seed", range(4))
def test_the_baseline_of_several_tasks(share, seed):
    graph = joint_baseline(TASKS, 6000, seed, share)
    assert 4000 < graph.parameter_count() <= 6000
    kernels = {"": 0}
    for name in ("stage2.conv1", "stage3.conv1", "hidden"):
        keys = [f"{part}.{name}.weight" for part in ("shared", "a", "b")]
        masks = {k: graph.weights.mask(k) for k in keys if k in graph.weights}
        assert (keys[0] in masks) == (share > 0)
        for key in keys[1:]:
            both = [m for k, m in masks.items() if k in (keys[0], key)]
            assert sum(m.astype(int) for m in both).max() == 1
            of_task = np.logical_or.reduce(both).reshape(*both[0].shape[:2], -1).any(2)
            assert of_task.any(0).all()
            assert of_task.any(1).all()
        for key, mask in masks.items():
            kernels[key] = int(mask.sum()) // int(np.prod(mask.shape[2:]))
    shared = sum(n for key, n in kernels.items() if key.startswith("shared"))
    assert shared / sum(kernels.values()) == pytest.approx(share, abs=0.08)


def test_parts_get_what_they_lack_of_the_wanted_share():
    graph = joint_baseline(TASKS, 4000, 0, 0.2)
    count, now = graph.parameter_count(), sizes(graph)
    room = rooms(graph, 4000, 0.5)
    several = shared_size(graph)
    assert several + room.shared == pytest.approx((count + 4000) / 2, abs=2)
    for part, added in room.own.items():
        assert now[part] + added == pytest.approx((count + 4000) / 4, abs=2)
    # What is too much already stays, and the others share the rest.
    few = rooms(graph, 10, 0.0)
    assert few.shared == 0
    assert sum(few.own.values()) in (8, 9, 10)
    assert sum(now.values()) == count


def test_gradients_of_shared_weights_are_the_sum_of_the_tasks():
    """∇_W f(α_1 ⊙ W) + ∇_W f(α_2 ⊙ W), section 4.2."""
    graph = joint_baseline(TASKS, 2500, 3, 0.3)
    made = scaffold(graph, Space(nodes=0, sources=0, layers=0), 0)
    torch.manual_seed(0)
    images = tuple(torch.randn(4, *task.shape) for task in TASKS)
    labels = tuple(torch.arange(4) % task.classes for task in TASKS)
    found = Hypernet(made, torch.device("cpu")).gradients([(images, labels)], F.cross_entropy)
    dense = made.graph.copy()
    dense.weights.masks.clear()
    model = growc.to_torch(dense).train()
    logits = model(*images)
    key = "shared.stage2.conv1.weight"
    shared = dict(model.named_parameters())[key]
    parts = [
        torch.autograd.grad(F.cross_entropy(logits[t.name], y), shared, retain_graph=True)[0]
        for t, y in zip(TASKS, labels, strict=True)
    ]
    np.testing.assert_allclose(found[key], sum(parts).double().numpy(), rtol=0, atol=1e-6)
    assert all(float(part.abs().max()) > 1e-4 for part in parts)


def test_a_share_needs_several_outputs():
    assert "one" in Ilnas(max_params=10**6, shared=0.2).check(images())
    with pytest.raises(GrowcError, match="1 and 3"):
        joint_baseline([Task("a", (1, 8, 8), 2), Task("b", (3, 8, 8), 2)], 9999, 0, 0.2)
