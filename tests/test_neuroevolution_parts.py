"""Selection, mutation, the options of a search, and the network that is exported."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import growc
from growc.passes import PASSES
from growc.proof import compare
from growc.search.neuroevolution import Evolution
from growc.search.neuroevolution.exporting import fused, fusible
from growc.search.neuroevolution.mutation import Barren, Mutated, draw, parse_mutations
from growc.search.neuroevolution.selection import select
from growc.search.neuroevolution.settings import R2R_MUTATIONS, require_same_search

# ---- selection


def by_the_formula(correct: NDArray[np.bool_], losses: list[float], keep: int) -> list[int]:
    """Co-evolution as NOTES.md has it, in exact fractions."""
    models, examples = correct.shape
    taken: list[int] = []
    while len(taken) < min(keep, models):
        weights = [
            Fraction(1, (1 + sum(int(correct[s, i]) for s in taken)) ** 2) for i in range(examples)
        ]
        scores = {
            m: sum(int(correct[m, i]) * w for i, w in enumerate(weights))
            for m in range(models)
            if m not in taken
        }
        taken.append(min(scores, key=lambda m: (-scores[m], losses[m], m)))
    return taken


@given(st.integers(1, 6), st.integers(1, 12), st.integers(1, 7), st.integers(0, 10**6))
def test_coevolution_is_its_formula(models: int, examples: int, keep: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    correct = rng.random((models, examples)) < 0.6
    losses = [float(x) for x in rng.integers(0, 3, models)]
    assert select(correct, losses, keep, "coevolution") == by_the_formula(correct, losses, keep)
    right = correct.sum(1)
    ranked = sorted(range(models), key=lambda m: (-right[m], losses[m], m))
    assert select(correct, losses, keep) == ranked[:keep]


def test_coevolution_takes_who_knows_the_rest() -> None:
    correct = np.array([[1, 1, 1, 0, 0, 0], [1, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 0]], bool)
    assert select(correct, [0.1, 0.2, 0.3], 2) == [0, 1]
    assert select(correct, [0.1, 0.2, 0.3], 2, "coevolution") == [0, 2]


def test_nothing_to_select_by() -> None:
    with pytest.raises(growc.GrowcError, match="no validation images"):
        select(np.zeros((2, 0), bool), [0.0, 0.0], 1)


# ---- mutation


@pytest.fixture(scope="module")
def digits() -> growc.Graph:
    graph = growc.load("examples/digits.arch")
    growc.initialize(graph)
    return graph


def drawn(graph: growc.Graph, text: str, seed: int, **more: Any) -> Mutated | Barren:
    more = {"widths": (1.0,), "tau": 0.0} | more
    random = np.random.default_rng(seed)
    return draw(
        graph,
        parse_mutations(text),
        more.pop("widths"),
        more.pop("tau"),
        random,
        seed=seed,
        **more,
    )


def test_a_mutation_is_proved_and_shares_what_was_there(digits: growc.Graph) -> None:
    found = drawn(digits, R2R_MUTATIONS, 3)
    assert isinstance(found, Mutated)
    assert found.compiled.whole is not None
    assert found.compiled.whole.verdict == "proved"
    assert len(found.compiled.steps[0].result.places) == 1
    for name, value in digits.weights.items():
        assert found.graph.weights[name] is value
    assert found.graph.weights.keys() == found.graph.parameters().keys()


def test_chances_places_and_widths(digits: growc.Graph) -> None:
    text = "1: r2wider{kernel=5}; 3: r2deeper{kernel=1}"
    seen: Counter[str] = Counter()
    for seed in range(200):
        found = drawn(digits, text, seed, widths=(0.5, 1.0), verify="none")
        assert isinstance(found, Mutated)
        seen[str(found.applied)] += 1
    # digits has two blocks, of 8 and 16 channels: 2 passes, 2 places, 2 widths each.
    assert len(seen) == 8
    kinds = Counter(text.partition("{")[0] for text in seen.elements())
    assert 30 <= kinds["r2wider"] <= 70  # 50 ± 3 standard deviations
    places = Counter(text.partition("at=")[2].partition(",")[0] for text in seen.elements())
    assert min(places.values()) >= 79
    widths = {t.partition("at=")[2].partition(", k")[0] for t in seen}
    assert widths == {
        "block1, filters=4",
        "block1, filters=8",
        "block2, filters=8",
        "block2, filters=16",
    }


def test_chances_do_not_depend_on_the_number_of_places(digits: growc.Graph) -> None:
    text = "1: r2wider{at=block1, filters=4}; 1: r2deeper"
    seen: Counter[str] = Counter()
    for seed in range(200):
        found = drawn(digits, text, seed, widths=(0.5, 1.0, 2.0), verify="none")
        assert isinstance(found, Mutated)
        seen[found.applied.name] += 1
    assert 79 <= seen["r2wider"] <= 121  # 100 ± 3 standard deviations


def test_what_is_given_is_kept(digits: growc.Graph) -> None:
    for seed in range(6):
        found = drawn(digits, "1: r2deeper{at=block2, filters=6}", seed, verify="none")
        assert isinstance(found, Mutated)
        assert str(found.applied) == "r2deeper{at=block2, filters=6}"


def test_tau_is_a_strict_limit(digits: growc.Graph) -> None:
    text, count = "1: r2deeper{at=block2, filters=6}", digits.parameter_count()
    found = drawn(digits, text, 0, verify="none")
    assert isinstance(found, Mutated)
    ratio = count / found.graph.parameter_count()
    assert isinstance(drawn(digits, text, 0, tau=ratio - 1e-9, verify="none"), Mutated)
    barren = drawn(digits, text, 0, tau=ratio, verify="none")
    assert barren == Barren((), ratio)


def test_tau_leaves_the_small_steps(digits: growc.Graph) -> None:
    for seed in range(20):
        found = drawn(digits, R2R_MUTATIONS, seed, widths=(0.5, 1, 2), tau=0.9, verify="none")
        assert isinstance(found, Mutated)
        assert digits.parameter_count() / found.graph.parameter_count() > 0.9


def test_names_of_others_are_not_taken(digits: growc.Graph) -> None:
    text = "1: r2deeper{at=block2, filters=6}"
    first = drawn(digits, text, 0)
    assert isinstance(first, Mutated)
    second = drawn(digits, text, 0, taken=first.graph.parameters())
    assert isinstance(second, Mutated)
    old = digits.parameters().keys()
    assert not (first.graph.parameters().keys() - old) & (second.graph.parameters().keys() - old)
    assert digits.weights.keys() == old  # the network itself got no names


def test_a_network_without_places() -> None:
    graph = growc.loads("net n { input x: f32[4]  output y = x -> linear(3) }")
    growc.initialize(graph)
    found = drawn(graph, "1: r2wider; 1: r2deeper{at=nowhere}", 0)
    assert isinstance(found, Barren)
    assert found.ratio is None
    assert "r2wider: the network has no residual block" in found.reasons


def test_passes_without_places_are_mutations_too(
    digits: growc.Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pass need not have `at`: then it is drawn as a whole."""
    with_at = {n for n, cls in PASSES.items() if "at" in {f.name for f in fields(cls)}}
    plain = sorted(PASSES.keys() - with_at)
    for name in plain:
        if not any(a.required for a in PASSES[name].attributes):
            assert isinstance(drawn(digits, f"1: {name}", 0), Mutated | Barren)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "there are no mutations"),
        ("r2wider", "no mutation starts here"),
        ("0: r2wider", "a mutation's chance is a number from 1e-09 to 1e+09"),
        (f"1{'0' * 400}: r2wider", "a mutation's chance is a number from"),
        ("1: r2wider, r2deeper", "a mutation is one pass"),
        ("1: r2wider 1: r2deeper", "a mutation ends with `;`"),
        ("1: r2widr", "no pass is called `r2widr`"),
        ("1: r2wider{kernl=3}", "has no option `kernl`"),
        ("1: r2wider;; 1: r2deeper", "no mutation starts here"),
    ],
)
def test_mistakes_in_mutations(text: str, said: str) -> None:
    with pytest.raises(growc.GrowcError) as caught:
        parse_mutations(text)
    assert said in str(caught.value)


def test_the_default_mutations_are_those_of_the_papers_code() -> None:
    found = parse_mutations(R2R_MUTATIONS)
    assert sum(m.chance for m in found) == pytest.approx(1)
    for name in ("r2wider", "r2deeper"):
        mine = {m.applied.kernel: m.chance for m in found if m.applied.name == name}  # type: ignore[attr-defined]
        assert mine == {1: 0.15, 3: 0.175, 5: 0.175}


# ---- options


def test_options_are_written_and_read(tmp_path: Path) -> None:
    told = Evolution(iterations=2, widths=(1.0,), tau=0.5, select="coevolution", scale_lr=False)
    file = tmp_path / "search.toml"
    file.write_text(told.as_toml(), encoding="utf-8")
    assert Evolution.stored(file) == told
    file.write_text("tau = 0\nwidths = [1, 2]\n", encoding="utf-8")
    assert Evolution.from_toml(file) == {"tau": 0.0, "widths": (1.0, 2.0)}
    require_same_search(file, vars(told), told)
    with pytest.raises(growc.GrowcError, match=r"options: --tau was 0\.5, not 0\.6\n"):
        require_same_search(file, vars(told), replace(told, tau=0.6))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"keep": 5, "population": 4}, "--keep cannot be 5"),
        ({"tau": 1.0}, "--tau cannot be 1"),
        ({"tau": -0.1}, "--tau cannot be -0.1"),
        ({"tau": float("nan")}, "--tau cannot be nan"),
        ({"iterations": 0}, "--iterations cannot be 0"),
        ({"select": "acuracy"}, "--select cannot be `acuracy`"),
        ({"moments": "none"}, "--moments cannot be `none`"),
        ({"widths": ()}, "--widths must be numbers above 0"),
        ({"widths": (0.0,)}, "--widths must be numbers above 0"),
        ({"mutations": "1: nothing"}, "no pass is called `nothing`"),
    ],
)
def test_mistakes_in_options(change: dict[str, Any], said: str) -> None:
    with pytest.raises(growc.GrowcError) as caught:
        Evolution(**change)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("keep = 3\n", "", "`keep` is missing"),
        ("keep = 3", 'keep = "3"', '`keep` is a whole number, not "3"'),
        ("keep = 3", "keep = 300", "--keep cannot be 300"),
        ("keep = 3", "keep = true", "`keep` is a whole number, not true"),
        ("tau = 0.0", 'tau = "x"', '`tau` is a number, not "x"'),
        (
            "widths = [0.5, 1.0, 2.0]",
            'widths = [1, "2"]',
            "`widths` is a list of numbers, not [1, ",
        ),
        ("keep = 3", "keep = 3\nspeed = 9", "`speed` is no option of the search"),
        ("r2wider{kernel=1}", "r2widr", "no pass is called `r2widr`"),
        ("tau = 0.0", f"tau = 1{'0' * 400}", "--tau cannot be inf"),
        ("widths = [0.5", f"widths = [1{'0' * 400}", "--widths must be numbers above 0"),
        ("keep = 3", f"keep = 1{'0' * 5000}", "Exceeds the limit"),
        ("widths = ", f"widths = {'[' * 3000}", "is nested too deeply"),
        ("keep = 3", "keep 3", "Expected '='"),
    ],
)
def test_a_damaged_file_of_options(tmp_path: Path, old: str, new: str, said: str) -> None:
    file = tmp_path / "search.toml"
    file.write_text(Evolution().as_toml().replace(old, new), encoding="utf-8")
    with pytest.raises(growc.GrowcError) as caught:
        Evolution.stored(file)
    assert said in str(caught.value)
    assert str(file) in str(caught.value)
    assert "restore the file" in str(caught.value)


# ---- export


def trained(graph: growc.Graph, seed: int) -> growc.Graph:
    """The network with other numbers everywhere, as after training."""
    rng = np.random.default_rng(seed)
    graph = graph.copy()
    for name, value in graph.weights.items():
        graph.weights.put(name, value + np.abs(rng.normal(0, 0.1, value.shape).astype(np.float32)))
    return graph


def test_the_exported_network_is_smaller_and_the_same(digits: growc.Graph) -> None:
    grown = growc.compile(digits, "r2wider{kernel=1}, r2wider{kernel=3}, r2deeper{blocks=2}")
    graph = trained(grown, 1)
    ready = fusible(graph)
    exported, said = fused(ready)
    assert said == "proved (eval, train)"
    assert growc.prove(ready, exported).verdict == "proved"
    assert len(exported) < len(graph) - 10
    assert fused(graph)[1] == "measured (eval, train)"  # which is why it is made ready
    # Biases are of float32's digits.
    differences = compare(graph, exported).differences
    assert {d.mode for d in differences} == {"eval", "train"}
    assert all(d.relative < 1e-7 for d in differences if d.dtype == "float64"), differences


def test_without_rounding_it_is_proved_as_it_is(digits: growc.Graph) -> None:
    grown = growc.compile(digits, "r2wider{kernel=1}, r2wider{kernel=3}")
    assert growc.same_weights(fusible(grown), grown)  # the new biases are zero
    exported, said = fused(grown)
    assert said == "proved (eval, train)"
    assert growc.prove(grown, exported).verdict == "proved"


def test_nothing_to_fuse() -> None:
    graph = growc.loads("net n { input x: f32[4]  output y = x -> linear(3) }")
    growc.initialize(graph)
    exported, said = fused(graph)
    assert exported is graph
    assert said == "nothing to fuse"
