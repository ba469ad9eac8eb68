"""Networks as text, before and after a pass.

A file of ``golden/passes`` has sections that begin with a line ``=== …``:

    === net                 the network as a person writes it
    === PIPELINE            its canonical text after these passes; GROWC_UPDATE_GOLDEN=1 renews it
"""

import os
from pathlib import Path

import pytest

from growc import GrowcError, compile, dumps, loads

GOLDEN = Path(__file__).parent / "golden" / "passes"
CASES = sorted(GOLDEN.glob("*.txt"))


def sections(text):
    for piece in text.removeprefix("=== ").split("\n=== "):
        header, _, content = piece.partition("\n")
        yield header, content.strip("\n")


def rewritten(text):
    """The file with what growc makes of it now."""
    (_, net), *pipelines = sections(text)
    parts = [f"=== net\n{net}"]
    for pipeline, _ in pipelines:
        try:
            result = dumps(compile(loads(net), pipeline, verify="none")).strip("\n")
        except GrowcError as error:
            result = str(error)
        parts.append(f"=== {pipeline}\n{result}")
    return "\n\n".join(parts) + "\n"


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_structure(path):
    text = path.read_text(encoding="utf-8")
    if os.environ.get("GROWC_UPDATE_GOLDEN"):
        path.write_text(rewritten(text), encoding="utf-8")
        return
    assert rewritten(text) == text


def test_there_are_cases():
    assert len(CASES) >= 5
