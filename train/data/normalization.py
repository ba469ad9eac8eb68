"""Pixels to numbers: (pixel / 255 - mean) / std.

The sums are of whole numbers, so mean and std are exact but for one rounding each, and the same on
every machine and in every order.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from ...ir import GrowcError
from ...ir.diagnostics import did_you_mean
from .examples import Examples, Pixels

Kind = Literal["channel", "mean_image", "none"]
KINDS: tuple[Kind, ...] = get_args(Kind)
AT_ONCE = 1024


@dataclass(frozen=True)
class Normalization:
    """What is taken off the pixels and what they are divided by, in units of white (255).

    ``channel``: a mean and a standard deviation for each channel; ``mean_image``: a mean for each
    pixel of each channel, as in the R2R paper's code, std 1; ``none``: nothing, std 1.
    """

    kind: Kind
    shape: tuple[int, int, int]
    """Channels, height and width of the images."""
    mean: tuple[float, ...]
    """By channel; for ``mean_image`` by channel, row and column."""
    std: tuple[float, ...]
    """By channel, each above 0."""

    @classmethod
    def of(cls, examples: Examples, kind: str) -> Normalization:
        """That of these (training) images, of which every one is looked at.

        A channel that is the same everywhere is divided by 1.

        Raises :class:`growc.GrowcError` for an unknown kind, or if there are no images.
        """
        kind = _kind(kind)
        if not len(examples):
            raise GrowcError("no images to normalize by", help="leave some for training")
        shape = cast(tuple[int, int, int], examples.images([0]).shape[1:])
        if kind == "none":
            return cls(kind, shape, (0.0,) * shape[0], (1.0,) * shape[0])
        total = np.zeros(shape, np.int64)
        squares = np.zeros(shape[0], np.int64)
        for start in range(0, len(examples), AT_ONCE):
            pixels = examples.images(range(start, min(start + AT_ONCE, len(examples))))
            total += pixels.sum(0, dtype=np.int64)
            if kind == "channel":
                for channel in range(shape[0]):
                    counts = np.bincount(pixels[:, channel].ravel(), minlength=256)
                    squares[channel] += counts @ np.arange(256) ** 2
        if kind == "mean_image":
            mean = tuple(t / (255 * len(examples)) for t in total.ravel().tolist())
            return cls(kind, shape, mean, (1.0,) * shape[0])
        count = len(examples) * shape[1] * shape[2]
        sums = total.sum((1, 2)).tolist()
        # Python's whole numbers: count * square does not fit into 64 bits for ImageNet.
        spread = [count * q - s * s for s, q in zip(sums, squares.tolist(), strict=True)]
        return cls(
            kind,
            shape,
            tuple(s / (255 * count) for s in sums),
            tuple(math.sqrt(v / (255 * count) ** 2) if v else 1.0 for v in spread),
        )

    def apply(self, pixels: Pixels) -> NDArray[np.float32]:
        """float32 [n, channels, height, width] of uint8 pixels.

        In memory the channels come last, also if there is one: convolutions go on in that order,
        in which they and pooling are faster (a training step of small networks on a CPU takes 0.6
        to 0.8 of the time), as are tensor cores.
        """
        if pixels.shape[1:] != self.shape:
            raise GrowcError(
                f"the normalization is of images of {_size(self.shape)}, "
                f"but these are of {_size(pixels.shape[1:])}",
                help="make one of the images you train on",
            )
        mean, scale = self._arrays
        n, channels, height, width = pixels.shape
        result = np.empty((n, height, width, channels), np.float32).transpose(0, 3, 1, 2)
        result[...] = pixels
        result -= mean
        result *= scale
        return result

    @cached_property
    def _arrays(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Mean and 1 / std in units of a pixel's steps."""
        size = self.shape if self.kind == "mean_image" else (self.shape[0], 1, 1)
        mean = 255 * np.array(self.mean).reshape(size)
        scale = 1 / (255 * np.array(self.std)).reshape(-1, 1, 1)
        return mean.astype(np.float32), scale.astype(np.float32)

    def as_json(self) -> dict[str, Any]:
        """Plain values that JSON keeps exactly."""
        return {
            "kind": self.kind,
            "shape": list(self.shape),
            "mean": list(self.mean),
            "std": list(self.std),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Normalization:
        """The inverse of :meth:`as_json`. Raises :class:`growc.GrowcError` for anything else."""
        try:
            kind = _kind(values["kind"])
            channels, height, width = (int(n) for n in values["shape"])
            mean = tuple(float(m) for m in values["mean"])
            std = tuple(float(s) for s in values["std"])
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise _unlike() from error
        wanted = channels * height * width if kind == "mean_image" else channels
        if min(channels, height, width) < 1 or (len(mean), len(std)) != (wanted, channels):
            raise _unlike()
        if not all(map(math.isfinite, (*mean, *std))) or min(std) <= 0:
            raise _unlike()
        return cls(kind, (channels, height, width), mean, std)

    def __str__(self) -> str:
        if self.kind == "none":
            return "pixels / 255"
        if self.kind == "mean_image":
            return f"pixels / 255, minus the mean training image of {_size(self.shape)}"
        mean, std = (", ".join(f"{v:.4f}" for v in values) for values in (self.mean, self.std))
        return f"pixels / 255, by channel minus the mean ({mean}), divided by the std ({std})"


def _kind(kind: str) -> Kind:
    for known in KINDS:
        if kind == known:
            return known
    help = did_you_mean(str(kind), KINDS) or f"there are: {', '.join(KINDS)}"
    raise GrowcError(f"no normalization `{kind}`", help=help)


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _unlike() -> GrowcError:
    return GrowcError(
        "these values are no normalization",
        help="give what `as_json` gave: kind, shape, mean and std",
    )
