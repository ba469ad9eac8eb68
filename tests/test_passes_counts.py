"""The papers' networks, and what the passes make of them, in numbers of parameters."""

from pathlib import Path

import pytest

from growc import compile, initialize, load, parse_pipeline

EXAMPLES = Path(__file__).parents[1] / "examples"


def example(name):
    graph = load(EXAMPLES / f"{name}.arch")
    initialize(graph)
    return graph


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("r2r_figure9", 147_194),
        ("r2r_base", 579_386),
        ("r2r_wide_teacher", 259_226),
        ("r2r_deep_teacher", 238_202),
    ],
)
def test_published_counts(name, count):
    assert example(name).parameter_count() == count


def test_concatenated_widening_of_the_wide_teacher_gives_the_base_network():
    """Not only as many parameters: the same layers with the same shapes."""
    (wider,) = parse_pipeline("r2wider{variant=concat}")
    student = wider(example("r2r_wide_teacher")).graph
    assert student.parameter_count() == 579_386
    base = example("r2r_base")
    assert student.parameters() == base.parameters()
    assert [n.type for n in student] == [n.type for n in base]


def test_the_deep_teacher_can_be_deepened_where_the_base_has_its_third_block():
    student = compile(example("r2r_deep_teacher"), "r2deeper{at=block3.pad}", verify="none")
    # conv3 64→64 with bias, batch norm, conv1 64→64 with bias
    assert student.parameter_count() - 238_202 == (9 * 64 * 64 + 64) + 128 + (64 * 64 + 64)


@pytest.mark.parametrize("name", sorted(p.stem for p in EXAMPLES.glob("*.arch")))
@pytest.mark.parametrize(
    "text", ["r2wider", "r2wider{variant=concat}", "r2deeper", "net2wider", "net2deeper"]
)
def test_each_example_is_grown_or_has_a_plain_reason(name, text):
    graph = load(EXAMPLES / f"{name}.arch")
    initialize(graph)
    (applied,) = parse_pipeline(text)
    main = applied.find(graph).main
    if main:
        assert applied(graph).graph.parameter_count() > graph.parameter_count()
    else:
        assert (name, text) in {("mlp", "r2wider"), ("vgg", "r2wider")}
