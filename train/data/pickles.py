"""Reading the pickles of CIFAR's python version without ever executing them.

A pickle is a program: loading one calls whatever it names. Here it can name three things only,
those that numpy's arrays are made by, and gets harmless stand-ins even for these: numpy trusts
the state of an array that it rebuilds. The real array is made from the bytes afterwards.
"""

from __future__ import annotations

import io
import pickle
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from .examples import Pixels
from .files import mistake, read

REFUSED = (
    "only lists, numbers, strings and numpy arrays are read, as in the published files; "
    "don't open this file with anything else"
)


def read_pickle(path: Path) -> dict[str, Any]:
    """The dictionary in a file: plain values, and uint8 arrays. Keys and strings become str."""
    unpickler = _Restricted(io.BytesIO(read(path)), encoding="bytes")
    try:
        content = unpickler.load()
    except _Refused as error:
        raise mistake(path, f"the pickle wants to call `{error}`", REFUSED) from error
    except Exception as error:  # which errors a damaged pickle raises is not documented
        raise mistake(path, f"not a pickle of plain values ({error})") from error
    if type(content) is not dict:
        raise mistake(path, "the pickle is not a dictionary")
    # Of other keys there are none in the published files, and not even their text is to be trusted.
    return {
        _text(key): _plain(path, value)
        for key, value in content.items()
        if type(key) in (str, bytes)
    }


def _text(value: Any) -> Any:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _plain(path: Path, value: Any) -> Any:
    if isinstance(value, list):
        return [_text(member) for member in value]
    return _array(path, value) if hasattr(value, "growc_state") else _text(value)


class _Refused(Exception):
    """Its text is the name of what a pickle wants to call."""


class _Restricted(pickle.Unpickler):
    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)

        # Made for each file, as a pickle can set attributes of what it is given.
        class StandIn:
            def __init__(self, *arguments: Any) -> None:
                self.arguments = arguments
                self.growc_state: Any = None

            def __setstate__(self, state: Any) -> None:
                self.growc_state = state

        class NdArray:
            pass

        self._known = {
            ("numpy.core.multiarray", "_reconstruct"): StandIn,
            ("numpy._core.multiarray", "_reconstruct"): StandIn,
            ("numpy", "ndarray"): NdArray,
            ("numpy", "dtype"): StandIn,
        }

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self._known[module, name]
        except KeyError:
            # Short and in ASCII: whoever wrote the file also wrote this name.
            raise _Refused(ascii(f"{module}.{name}"[:80])[1:-1]) from None


def _array(path: Path, stand_in: Any) -> Pixels:
    """The array that numpy would make of (version, shape, dtype, is Fortran's order, bytes)."""
    try:
        _, shape, dtype, fortran, data = stand_in.growc_state
        fine = (
            _text(dtype.arguments[0]) in ("u1", "|u1")
            and all(type(n) is int and n >= 0 for n in shape)
            and type(data) is bytes
            and len(data) == prod(shape)
        )
    except (AttributeError, IndexError, TypeError, ValueError):
        fine = False
    if not fine:
        raise mistake(path, "an array in the pickle is not of uint8, or is truncated")
    return np.frombuffer(data, np.uint8).reshape(shape, order="F" if fortran else "C")
