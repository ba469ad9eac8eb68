"""ONNX's ops one by one: what growc reads of each against what ONNX says it computes."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from growc import GrowcError
from growc.backends import from_onnx, run_onnx, to_onnx, to_torch
from growc.ir import Graph

from .onnx_node_cases import NodeCase, node_cases

torch.set_num_threads(1)

Array = NDArray[Any]

NUMBERS = {"float16", "float32", "float64", "bfloat16", "bool"}

NOT_READ = {
    "test_averagepool_*_dilations*": "growc has no dilated average pooling",
    "test_lppool_2d_dilations": "growc has no dilated LP pooling",
    "test_batchnorm_*_training_mode": "statistics of the batch, in evaluation",
    "test_training_dropout": "random numbers, in evaluation",
    "test_training_dropout_mask": "random numbers, in evaluation",
    "test_training_dropout_default*": "random numbers, in evaluation",
    "test_mod_float*_fmod_0*": "until opset 23, whole numbers alone have this remainder",
    "test_expand_dim_changed": "the batch is the second axis",
    "test_flatten_axis[023]": "the batch would be merged with other axes in an output",
    "test_flatten_negative_axis[124]": "the batch would be merged with other axes in an output",
    "test_gemm_transposeA": "the batch is the second axis",
    "test_gemm_all_attributes": "the batch is the second axis",
    "test_gemm_default_matrix_bias": "a constant that differs from example to example",
    "test_matmul_1d_3d": "a vector for each example, and a stack of matrices for none",
    "test_resize_*exclude_outside": "growc resizes with all of the image",
    "test_resize_tf_crop_and_resize*": "growc resizes all of the image",
    "test_resize_*half_pixel_symmetric": "growc does not have these coordinates",
}

DIFFERENT = {
    "test_resize_downsample_scales_*_align_corners": "onnxruntime and PyTorch take the last place "
    "from the result's size, ONNX's reference from the exact product of size and scale",
}

ROUNDED = ("float16", "bfloat16")
"""growc computes in float32 what these cases round."""


def not_about(case: NodeCase) -> str | None:
    """Why a case is about something else than growc reads, from its types alone."""
    if not case.inputs:
        return "it has no input"
    arrays = [*case.inputs.values(), *case.outputs]
    if any(a.dtype.kind in "OUSc" for a in arrays):
        return "strings"
    if case.node.op_type in ("Shape", "Size", "ConstantOfShape"):
        return "its result is a constant"
    data = next(iter(case.inputs.values()))
    if data.size == 0:
        return "growc has no empty tensors"
    # Whole numbers are read as such, but only looked up, compared and moved.
    if case.outputs[0].dtype.kind in "iu":
        return "whole numbers that are computed"
    if data.dtype.kind in "iu" and case.node.op_type in ARITHMETIC:
        return "arithmetic of whole numbers"
    if {data.dtype.name, case.outputs[0].dtype.name} - NUMBERS - {"int32", "int64"}:
        return "numbers of fewer than 16 bits"
    if any(o.size == 0 for o in case.outputs):
        return "growc has no empty tensors"
    return None


ARITHMETIC = set("Pow Pad".split())


def outputs(graph: Graph, inputs: dict[str, Array]) -> dict[str, list[Array]]:
    """What a network that was read gives: by PyTorch, and by onnxruntime of its own export."""
    cast = {
        n: x.astype(np.int64 if x.dtype.kind in "iub" else np.float32) for n, x in inputs.items()
    }
    found = {}
    for dtype in (torch.float32, torch.float64):
        tensors = [torch.from_numpy(cast[name].copy()) for name in graph.inputs]
        given = [t.to(dtype) if t.is_floating_point() else t for t in tensors]
        result = to_torch(graph, dtype=dtype).eval()(*given)
        results = list(result.values()) if isinstance(result, dict) else [result]
        found[str(dtype)] = [r.detach().numpy() for r in results]
    by_onnx = run_onnx(to_onnx(graph), cast)
    return found | {"onnxruntime": [by_onnx[name] for name in graph.outputs]}


def assert_gives(
    graph: Graph, inputs: dict[str, Array], expected: list[Array], rtol: float
) -> None:
    for how, results in outputs(graph, inputs).items():
        for result, wanted in zip(results, expected, strict=True):
            assert result.shape == wanted.shape
            np.testing.assert_allclose(
                result.astype(np.float64), wanted.astype(np.float64), rtol, 1e-5, err_msg=how
            )


CASES = [case for case in node_cases() if not_about(case) is None]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_node_case(case: NodeCase) -> None:
    for why in _matching(DIFFERENT, case.name):
        pytest.skip(why)
    read = 0
    for form in case.forms():
        try:
            graph = from_onnx(form.model)
        except GrowcError:
            continue
        read += 1
        rounded = any(a.dtype.name in ROUNDED for a in (*case.inputs.values(), *case.outputs))
        assert_gives(graph, form.inputs, form.outputs, 1e-2 if rounded else case.rtol)
    for why in _matching(NOT_READ, case.name):
        assert not read, f"it can be read, so it is no exception: {why}"
        pytest.skip(why)
    assert read


def _matching(table: dict[str, str], name: str) -> list[str]:
    return [why for pattern, why in table.items() if fnmatchcase(name, pattern)]
