"""Reading a model of 25 million parameters from ONNX. Target: 3 times onnx.load and its checker.

The model is ResNet-50 (He et al. 2015) as growc exports it. Onnx's own library, which must at least
parse the file and look at every node, gives the measure of the machine.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import onnx

import growc

from .common import alternate, ratio, report

RESNET50 = """
block bottleneck(x, channels: int, stride: int) {
    y = x -> conv2d(channels, 1, bias=false) -> batch_norm -> relu
          -> conv2d(channels, stride=stride, bias=false) -> batch_norm -> relu
          -> conv2d(4 * channels, 1, bias=false) -> batch_norm
    return relu(x + y)
}

block first_bottleneck(x, channels: int, stride: int) {
    y = x -> conv2d(channels, 1, bias=false) -> batch_norm -> relu
          -> conv2d(channels, stride=stride, bias=false) -> batch_norm -> relu
          -> conv2d(4 * channels, 1, bias=false) -> batch_norm
    shortcut = x -> conv2d(4 * channels, 1, stride=stride, bias=false) -> batch_norm
    return relu(shortcut + y)
}

net resnet50 {
    input image: f32[3, 224, 224]
    x = image -> conv2d(64, 7, stride=2, bias=false) -> batch_norm -> relu
              -> max_pool2d(3, stride=2, padding=1)
    repeat i in 0..4 {
        x = first_bottleneck(x, channels=64 * 2**i, stride=min(i + 1, 2))
        repeat j in 1..[3, 4, 6, 3][i] {
            x = bottleneck(x, channels=64 * 2**i, stride=1)
        }
    }
    output logits = x -> global_avg_pool -> flatten -> linear(1000)
}
"""


def main() -> None:
    graph = growc.loads(RESNET50)
    growc.initialize(graph)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "resnet50.onnx"
        growc.to_onnx(graph, path)
        size = path.stat().st_size

        def by_onnx() -> None:
            onnx.checker.check_model(onnx.load(path))

        times = alternate(lambda: growc.from_onnx(path), by_onnx, rounds=21)
    low, middle, high = ratio(times)
    ours, onnxs = (sorted(t)[len(t) // 2] * 1e3 for t in times)
    report(
        "reading",
        [
            f"ResNet-50 from ONNX: {graph.parameter_count():,} parameters, {size:,} bytes, "
            "21 rounds",
            f"growc.from_onnx                         {ours:6.0f} ms (median)",
            f"onnx.load and onnx.checker.check_model  {onnxs:6.0f} ms (median)",
            f"ratio                                   {middle:6.2f} (quartiles {low:.2f} to "
            f"{high:.2f}); target ≤ 3",
        ],
    )


if __name__ == "__main__":
    main()
