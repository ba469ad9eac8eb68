"""Draws docs/r2wider.svg, the README's picture: a residual block, and what r2wider adds to it."""

from pathlib import Path

import growc
from growc.backends.svg import to_svg
from growc.ir.summary import diff

NET = """
net block {
    input x: f32[16, 32, 32]
    block.conv2d = x -> conv2d(32)
    block.batch_norm = block.conv2d -> batch_norm
    block.relu = block.batch_norm -> relu
    block.conv2d_2 = block.relu -> conv2d(16)
    block.add = x + block.conv2d_2
    output y = block.add
}
"""

teacher = growc.loads(NET)
growc.initialize(teacher)
student = growc.compile(teacher, "r2wider")
added = [node.name for node in diff(teacher, student).added]
picture = to_svg(student, engine="plain", highlight=added)
(Path(__file__).parent / "r2wider.svg").write_text(picture, encoding="utf-8")
