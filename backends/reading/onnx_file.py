"""Opening ONNX files, which may be damaged or hostile."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from ...ir import GrowcError
from ...ir.types import MAX_ELEMENTS

OPSETS = range(7, 24)
"""Versions of ONNX's own operators that growc reads."""


def open_model(model: onnx.ModelProto | str | os.PathLike[str]) -> tuple[onnx.ModelProto, Path]:
    """The model, external data not read yet, and the folder that such data lies in.

    Raises :class:`GrowcError` for a file that is missing, is no ONNX model, or is cut off.
    """
    if isinstance(model, onnx.ModelProto):
        return model, Path()
    path = Path(model)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise GrowcError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise GrowcError(f"{path}: is a folder, not an ONNX file") from None
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise GrowcError(f"{path}: cannot be read ({reason})") from error
    found = onnx.ModelProto()
    try:
        found.ParseFromString(content)
    except Exception as error:  # protobuf's own error types differ between its implementations
        raise GrowcError(
            f"{path}: not a complete ONNX file", help="it is damaged, cut off, or something else"
        ) from error
    if not found.graph.output:
        raise GrowcError(
            f"{path}: not an ONNX model (it has no outputs)",
            help="it is damaged, cut off, or something else",
        )
    return found, path.parent


def opset_of(model: onnx.ModelProto, where: str) -> int:
    """The version of ONNX's own operators. Raises :class:`GrowcError` if growc does not read it."""
    version = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 0)
    if not version:
        raise GrowcError(
            f"{where}: the model does not say the version of ONNX's operators (its opset)",
            help="it is damaged, or needs an opset_import of the domain ''",
        )
    if version not in OPSETS:
        raise GrowcError(
            f"{where}: the model has opset {version}, but growc reads {OPSETS.start} to "
            f"{OPSETS.stop - 1}",
            help="export it anew with another opset, or try onnx.version_converter.convert_version",
        )
    return int(version)


def array_of(tensor: TensorProto, folder: Path) -> NDArray[Any]:
    """The numbers of a stored tensor. Raises :class:`GrowcError` if they are not all there."""
    shape = tuple(tensor.dims)
    if not isinstance(tensor.name, str):
        raise GrowcError("it has a stored tensor whose name is no text", help="it is damaged")
    name = f"the stored tensor `{tensor.name[:200]}`"
    if any(n < 0 for n in shape) or math.prod(shape) > MAX_ELEMENTS:
        raise GrowcError(f"{name} has the impossible shape {list(shape)}", help="it is damaged")
    try:
        kind = helper.tensor_dtype_to_np_dtype(tensor.data_type)
    except (KeyError, ValueError, TypeError):
        kind = np.dtype(object)
    if kind.kind in "OUSc":
        raise GrowcError(f"{name} has elements that are no numbers, or of an unknown type")
    if tensor.data_location == TensorProto.EXTERNAL:
        return _external(tensor, folder, shape, kind, name)
    if tensor.HasField("raw_data") and tensor.data_type in PLAIN:
        content = tensor.raw_data  # protobuf copies it, each time
        wanted = math.prod(shape) * kind.itemsize
        if len(content) != wanted:
            raise GrowcError(
                f"{name} of shape {list(shape)} needs {wanted:,} bytes, but has {len(content):,}",
                help="it is damaged or cut off",
            )
        return np.frombuffer(content, kind.newbyteorder("<")).reshape(shape)
    try:
        array: NDArray[Any] = numpy_helper.to_array(tensor)
    except Exception as error:  # whatever numpy and onnx say of contents that do not fit
        raise GrowcError(
            f"{name} of shape {list(shape)} has contents that do not fit it",
            help="it is damaged or cut off",
        ) from error
    return array


PLAIN = {
    TensorProto.FLOAT,
    TensorProto.DOUBLE,
    TensorProto.FLOAT16,
    TensorProto.INT64,
    TensorProto.INT32,
    TensorProto.INT8,
    TensorProto.UINT8,
    TensorProto.BOOL,
}


def _external(
    tensor: TensorProto, folder: Path, shape: tuple[int, ...], kind: np.dtype[Any], name: str
) -> NDArray[Any]:
    """Numbers in a file beside the model, mapped into memory."""
    entries = {str(entry.key): str(entry.value) for entry in tensor.external_data}
    location = entries.get("location", "")
    try:
        inside = (folder / location).resolve()
        outside = Path(location).is_absolute() or not inside.is_relative_to(folder.resolve())
        special = inside.exists() and not inside.is_file()
    except (OSError, RuntimeError, ValueError):  # loops of links, and names that none can have
        inside, outside, special = folder, True, False
    if not location or outside:
        raise GrowcError(
            f"{name} lies in `{location[:200]}`, outside of the model's folder",
            help="growc reads external data from the model's own folder only",
        )
    if special:
        raise GrowcError(f"{inside}: is no file, but should have {name}")
    try:
        offset = int(entries.get("offset", 0))
        length = int(entries.get("length", math.prod(shape) * kind.itemsize))
        size = inside.stat().st_size
    except ValueError:
        raise GrowcError(f"{name} has an offset or length that is no number") from None
    except OSError as error:
        raise GrowcError(
            f"{inside}: cannot be read ({error.strerror or error}), but has {name}"
        ) from error
    wanted = math.prod(shape) * kind.itemsize
    if offset < 0 or length != wanted or offset + length > size:
        raise GrowcError(
            f"{name} of shape {list(shape)} needs {wanted:,} bytes at {offset:,} of {inside.name}, "
            f"which has {size:,}",
            help="the file is cut off, or belongs to another model",
        )
    if not wanted:
        return np.zeros(shape, kind)
    try:
        flat = np.memmap(inside, np.uint8, "r", offset, (wanted,))
    except (OSError, ValueError) as error:
        raise GrowcError(f"{inside}: cannot be read ({error})") from error
    return flat.view(kind.newbyteorder("<")).reshape(shape)
