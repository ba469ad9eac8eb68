"""Running ONNX models with onnxruntime."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import ArrayLike, NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as errors

from ..ir import GrowcError
from ..ir.diagnostics import did_you_mean, plural

Model = onnx.ModelProto | bytes | str | os.PathLike[str]

CPU = ("CPUExecutionProvider",)

ONLY_ERRORS = 3
"""onnxruntime's log severity: no information, no warnings."""

_CODE = re.compile(r"^\[ONNXRuntimeError\] : \d+ : [A-Z_]+ : ")

FAILURES = (
    errors.EPFail,
    errors.Fail,
    errors.InvalidArgument,
    errors.InvalidGraph,
    errors.InvalidProtobuf,
    errors.NoSuchFile,
    errors.NotImplemented,
    errors.RuntimeException,
)
"""What onnxruntime raises; these have no common base but Exception."""


class Session:
    """An ONNX model ready to run on the first of ``providers`` that works.

    ``providers`` in the session are those in use: where a device cannot be reached, onnxruntime
    goes on with the next one, in the end the CPU, without an error.

    Raises :class:`GrowcError` for a provider that this onnxruntime does not have, and for a model
    that it cannot load.
    """

    def __init__(self, model: Model, providers: Sequence[str] = CPU) -> None:
        ort.set_default_logger_severity(ONLY_ERRORS)
        _require_available(providers)
        options = ort.SessionOptions()
        options.log_severity_level = ONLY_ERRORS
        try:
            self._session = ort.InferenceSession(
                _loadable(model), options, providers=list(providers)
            )
        except FAILURES as error:
            what = os.fspath(model) if isinstance(model, (str, os.PathLike)) else "the model"
            raise GrowcError(f"{what}: onnxruntime cannot load it ({_plain(error)})") from error

    @property
    def providers(self) -> tuple[str, ...]:
        """The execution providers in use, first choice first."""
        return tuple(self._session.get_providers())

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs."""
        return tuple(value.name for value in self._session.get_inputs())

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the outputs."""
        return tuple(value.name for value in self._session.get_outputs())

    @property
    def input_types(self) -> dict[str, tuple[tuple[Any, ...], bool]]:
        """Input → its shape, open axes as text or None, and whether it takes whole numbers."""
        whole = ("int", "bool")
        return {
            value.name: (tuple(value.shape), any(word in value.type for word in whole))
            for value in self._session.get_inputs()
        }

    @property
    def batch(self) -> int | None:
        """The size of the batch, if the model fixes it: the first axis of its first input."""
        shapes = [value.shape for value in self._session.get_inputs()]
        first = shapes[0][0] if shapes and shapes[0] else None
        return first if isinstance(first, int) else None

    def run(self, inputs: Mapping[str, ArrayLike]) -> dict[str, NDArray[Any]]:
        """All outputs by name, for inputs by name, each ``[batch, *shape]``.

        Raises :class:`GrowcError` for inputs that are missing, unknown or do not fit.
        """
        _require_inputs(self.inputs, inputs)
        given = {
            value.name: _array(inputs[value.name], value.type)
            for value in self._session.get_inputs()
        }
        try:
            results = self._session.run(None, given)
        except FAILURES as error:
            raise GrowcError(f"onnxruntime cannot run the model ({_plain(error)})") from error
        return dict(zip(self.outputs, results, strict=True))


def run_onnx(
    model_or_path: Model, inputs: Mapping[str, ArrayLike], providers: Sequence[str] = CPU
) -> dict[str, NDArray[Any]]:
    """Outputs of an ONNX model by name. To run it more than once, make a :class:`Session`.

    Raises :class:`GrowcError` as the session does.
    """
    return Session(model_or_path, providers).run(inputs)


def _loadable(model: Model) -> bytes | str:
    if not isinstance(model, onnx.ModelProto):
        return model if isinstance(model, bytes) else os.fspath(model)
    try:
        return bytes(model.SerializeToString())
    except Exception as error:  # protobuf's own error types differ between its implementations
        raise GrowcError(
            f"the model cannot be run from memory ({_plain(error)})",
            help="models above 2 GB run from a file: give to_onnx a path, and run that",
        ) from error


def _require_available(providers: Sequence[str]) -> None:
    known = ort.get_available_providers()
    for name in providers:
        if name not in known:
            raise GrowcError(
                f"onnxruntime has no execution provider `{name}` here",
                help=did_you_mean(name, known) or f"it has {', '.join(known)}",
            )


def _require_inputs(names: Sequence[str], given: Mapping[str, ArrayLike]) -> None:
    missing = [name for name in names if name not in given]
    unknown = [name for name in given if name not in names]
    if missing or unknown:
        parts = [f"`{name}` is missing" for name in missing]
        parts += [f"`{name}` is unknown" for name in unknown]
        raise GrowcError(
            f"the model takes {plural(len(names), 'input')} "
            f"({', '.join(names)}), but " + ", ".join(parts)
        )


def _array(value: ArrayLike, type: str) -> NDArray[Any]:
    array = np.asarray(value)
    # Numbers may become floating-point ones, but these not whole ones.
    kinds, dtype = _CONVERSIONS.get(type, ("", None))
    return array.astype(dtype) if array.dtype.kind in kinds else array


_CONVERSIONS = {"tensor(float)": ("fiub", np.float32), "tensor(int64)": ("iu", np.int64)}


def _plain(error: Exception) -> str:
    """onnxruntime's message in one line, without its error code; a long one is cut."""
    text = " ".join(str(error).split()) or type(error).__name__
    text = _CODE.sub("", text)
    return text if len(text) <= 300 else text[:299] + "…"
