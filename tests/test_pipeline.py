"""Pipelines as text: what they parse to, what they print as, and every mistake."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from growc import PASSES, GrowcError, parse_pipeline, testing

QUICK = settings(deadline=None)

patterns = st.text(min_size=1, max_size=12) | st.sampled_from(
    "stage2.* layer[12].* true false 12 -3 1e5 a.b layer[1 2].x [ab]* x] {y} a,b \\ ? *".split(" ")
)


@QUICK
@given(pipeline=testing.pipelines(), at=st.lists(patterns, min_size=1, max_size=3))
def test_text_round_trips(pipeline, at):
    last = pipeline[-1]
    options = {a.name: getattr(last, a.name) for a in last.attributes}
    pipeline[-1] = type(last)(**{**options, "at": tuple(at)})
    assert parse_pipeline(", ".join(map(str, pipeline))) == pipeline


@QUICK
@given(text=st.text(alphabet='r2wider{}[]=,"\\ \nat*.-13é', max_size=40))
def test_any_text_is_a_pipeline_or_one_plain_mistake(text):
    try:
        pipeline = parse_pipeline(text)
    except GrowcError as error:
        mistake = error
    else:
        assert parse_pipeline(", ".join(map(str, pipeline))) == pipeline
        return
    (diagnostic,) = mistake.diagnostics
    assert diagnostic.span is not None
    assert str(mistake).startswith("--pass:")


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("r2wider", "r2wider"),
        (" r2wider { } ,\n r2deeper{} ", "r2wider, r2deeper"),
        ("r2wider{filters=16,kernel=3,at=stage2.*}", "r2wider{at=stage2.*, filters=16}"),
        ("r2wider{at=[a, b.*,]}", "r2wider{at=[a, b.*]}"),
        ('r2wider{at="a b"}', 'r2wider{at="a b"}'),
        ("r2deeper{at=layer[12].*}", "r2deeper{at=layer[12].*}"),
        ("r2deeper{at=[12, true]}", "r2deeper{at=[12, true]}"),
        ("r2deeper{seed=7, blocks=2, init=torch}", "r2deeper{init=torch, seed=7, blocks=2}"),
    ],
)
def test_text(text, printed):
    assert ", ".join(map(str, parse_pipeline(text))) == printed


MISTAKES = {
    "": ("1:1", "a pass's name is missing here", None),
    "r2wider,": ("1:9", "a pass's name is missing here", None),
    "r2wide": ("1:1", "no pass is called `r2wide`", "did you mean `r2wider`?"),
    "zzz": ("1:1", "no pass is called `zzz`", f"passes: {', '.join(PASSES)}"),
    "r2wider r2deeper": ("1:9", "a comma is missing between two passes", None),
    "r2wider{filters}": ("1:16", "write `=` and a value after `filters`", None),
    "r2wider{filters=}": ("1:17", "a value is missing here", None),
    "r2wider{=2}": ("1:9", "an option's name is missing here", None),
    "r2wider{filters=2": ("1:18", "options are separated by commas and end with `}`", None),
    "r2wider{filters=2 kernel=3}": (
        "1:19",
        "options are separated by commas and end with `}`",
        None,
    ),
    "r2wider{filters=2, filters=4}": ("1:20", "`filters` is given twice", None),
    "r2wider{filter=2}": ("1:9", "`r2wider` has no option `filter`", "did you mean `filters`?"),
    "r2wider{filters=3}": (
        "1:9",
        "`filters` of `r2wider` must be an even number of at least 2, not 3",
        None,
    ),
    "r2deeper{blocks=65}": (
        "1:10",
        "`blocks` of `r2deeper` must be a whole number from 1 to 64, not 65",
        None,
    ),
    "r2wider{kernel=1.5}": (
        "1:9",
        "`kernel` of `r2wider` must be a whole number of at least 1, not 1.5",
        None,
    ),
    "r2wider{filters=" + "9" * 31 + "}": ("1:17", "this number is too long", None),
    "r2wider{at=[a}": ("1:14", "a list's items are separated by commas and end with `]`", None),
    "r2wider{at=[[a]]}": ("1:13", "a list cannot stand inside a list", None),
    "r2wider{at=" + "[" * 5000: ("1:13", "a list cannot stand inside a list", None),
    'r2wider{at="\\q"}': ("1:12", "this text has an escape that does not exist", None),
    'r2wider{at="a}': ("1:12", "a value is missing here", None),
    "r2wider,\nr2x": ("2:1", "no pass is called `r2x`", None),
}


@pytest.mark.parametrize("text", MISTAKES, ids=lambda text: text[:30])
def test_mistake(text):
    place, message, help = MISTAKES[text]
    with pytest.raises(GrowcError) as caught:
        parse_pipeline(text)
    (diagnostic,) = caught.value.diagnostics
    assert (str(diagnostic.span), diagnostic.message) == (f"--pass:{place}", message)
    if help is not None:
        assert diagnostic.help == help
