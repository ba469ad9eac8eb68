"""What a training run is told: everything that its result depends on, as a small TOML file."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

from ..compiler import VERIFY
from ..ir import GrowcError
from ..ir.diagnostics import did_you_mean
from ..ir.toml import KIND_WORDS, as_float, read_toml, shown, to_toml
from ..passes.pipeline import parse_pipeline
from .data.augmentation import CROPS
from .data.normalization import KINDS

LOSSES = ("cross_entropy", "binary_cross_entropy")
OPTIMIZERS = ("adam", "adamw", "sgd")
SCHEDULES = ("constant", "linear", "cosine", "steps")
PRECISIONS = ("float32", "bfloat16", "float16")
EPOCHS = 10
"""How long a run is unless told otherwise."""


class WrongSetting(GrowcError):
    """A value out of range, or one that would do nothing beside the others."""

    def __init__(self, setting: str, what: str, help: str) -> None:
        off = "no-" if DEFAULTS[setting] is True else ""  # what is on is only ever wrong off
        super().__init__(f"--{off}{setting.replace('_', '-')} {what}", help=help)
        self.setting = setting

    def within(self, path: Path) -> GrowcError:
        """The same mistake, where it stands in a file."""
        (why,) = self.diagnostics
        named = re.sub("--([a-z-]+)", _as_setting, why.message)
        return GrowcError(f"{path}: {named}", help=why.help)


def _as_setting(option: re.Match[str]) -> str:
    return f"`{option[1].removeprefix('no-').replace('-', '_')}`"


@dataclass(frozen=True)
class Settings:
    """Everything that the result of a run depends on, but for the network and the machine."""

    data: str = "digits"
    """A data set, as :func:`growc.train.open_data` takes it."""
    validation: int | None = None
    """Images taken out of the training images to choose the best model by."""
    normalize: str = "channel"
    crop: str = "none"
    flip: bool = False
    replacement: bool = False
    """Draw each batch from all training images, instead of shuffled epochs."""
    batch_size: int = 64
    updates: int = 0
    """0: 10 epochs."""
    evaluate_every: int = 0
    """Updates from one evaluation and checkpoint to the next. 0: an epoch."""
    loss: str = "cross_entropy"
    label_smoothing: float = 0.0
    optimizer: str = "adam"
    lr: float = 1e-3
    weight_decay: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.999
    amsgrad: bool = False
    momentum: float = 0.0
    nesterov: bool = False
    clip: float = 0.0
    """The largest norm of the gradient; 0: any."""
    lr_schedule: str = "constant"
    warmup: int = 0
    """Updates in which the learning rate rises from 0."""
    lr_steps: tuple[int, ...] = ()
    """With the schedule ``steps``: after which updates the rate is multiplied by ``lr_decay``."""
    lr_decay: float = 0.1
    precision: str = "float32"
    grow: str = ""
    """The growth schedule."""
    scale_lr: bool = True
    """Multiply the learning rate by |θ₁|/|θ₂| when growing (R2R appendix C.3)."""
    scale_weight_decay: bool = False
    verify: str = "proof"
    seed: int = 0

    def __post_init__(self) -> None:
        """Raises :class:`WrongSetting`."""
        for name, choices in (
            ("normalize", KINDS),
            ("crop", CROPS),
            ("loss", LOSSES),
            ("optimizer", OPTIMIZERS),
            ("lr_schedule", SCHEDULES),
            ("precision", PRECISIONS),
            ("verify", VERIFY),
        ):
            value = getattr(self, name)
            if value not in choices:
                help = did_you_mean(value, choices) or f"there are: {', '.join(choices)}"
                raise WrongSetting(name, f"cannot be `{value}`", help)
        for name, least in (
            ("batch_size", 1),
            ("updates", 0),
            ("evaluate_every", 0),
            ("warmup", 0),
            ("seed", 0),
        ):
            if getattr(self, name) < least:
                raise WrongSetting(
                    name, f"cannot be {getattr(self, name)}", f"give {least} or more"
                )
        if self.validation is not None and self.validation < 0:
            raise WrongSetting("validation", f"cannot be {self.validation}", "give 0 or more")
        for name, top in (
            ("lr", math.inf),
            ("weight_decay", math.inf),
            ("clip", math.inf),
            ("lr_decay", math.inf),
            ("momentum", 1.0),
            ("beta1", 1.0),
            ("beta2", 1.0),
            ("label_smoothing", 1.0),
        ):
            value = getattr(self, name)
            if not 0 <= value < top:
                below = "a number" if top == math.inf else f"less than {top:g}"
                raise WrongSetting(name, f"cannot be {value:g}", f"give {below}, 0 or more")
        self._refuse_idle()

    def _refuse_idle(self) -> None:
        """No option does nothing."""
        sgd = self.optimizer == "sgd"
        steps = self.lr_schedule == "steps"
        for name, idle, why in (
            ("momentum", not sgd, "is for --optimizer sgd"),
            ("nesterov", not sgd or not self.momentum, "is for --optimizer sgd with --momentum"),
            ("amsgrad", sgd, "is for --optimizer adam and adamw"),
            ("beta1", sgd, "is for --optimizer adam and adamw"),
            ("beta2", sgd, "is for --optimizer adam and adamw"),
            ("lr_steps", not steps, "is for --lr-schedule steps"),
            ("lr_decay", not steps, "is for --lr-schedule steps"),
            ("label_smoothing", self.loss != "cross_entropy", "is for --loss cross_entropy"),
            ("scale_weight_decay", not self.grow, "is for --grow"),
            ("scale_lr", not self.grow, "is for --grow"),
        ):
            if idle and getattr(self, name) != DEFAULTS[name]:
                raise WrongSetting(name, why, "leave it out")
        if steps and not self.lr_steps:
            raise WrongSetting(
                "lr_schedule",
                "`steps` needs --lr-steps",
                "give updates that rise, as 3000 and 4500",
            )
        if list(self.lr_steps) != sorted({s for s in self.lr_steps if s > 0}):
            raise WrongSetting("lr_steps", "must rise from 1", "as 3000 and 4500 do")

    @property
    def rates_depend_on_length(self) -> bool:
        """Whether the learning rate of an update depends on how many there will be."""
        return self.lr_schedule in ("linear", "cosine")

    def resolved(self, examples: int, epochs: int = EPOCHS) -> Settings:
        """With ``updates``, where they are not given, and ``evaluate_every`` for so many
        ``epochs`` of a training set of so many examples.

        Raises :class:`WrongSetting` for what would come after the end."""
        epoch = -(-examples // self.batch_size)
        updates = self.updates or epochs * epoch
        for name, first in (("warmup", self.warmup), ("lr_steps", min(self.lr_steps, default=0))):
            if first >= updates:
                what = f"comes to nothing: the run ends after {updates:,} updates"
                raise WrongSetting(name, what, "train for longer, or give less")
        return replace(self, updates=updates, evaluate_every=self.evaluate_every or epoch)

    def as_toml(self) -> str:
        """What ``growc train --config`` takes."""
        comment = "What this run was told. `growc train --config` takes this file."
        return to_toml([comment], asdict(self))

    @classmethod
    def from_toml(cls, path: Path) -> dict[str, Any]:
        """The settings of a file by name, those only that it has.

        Besides text as for ``--grow``, ``grow`` may be a list of tables:
        ``[[grow]]  at = 1500  pass = "r2wider"``. Raises :class:`GrowcError` for a file that
        cannot be read, an unknown name, and a value of another kind.
        """
        found = read_toml(path, 'settings are lines in TOML, as in `optimizer = "sgd"`')
        values = {}
        for name, value in found.items():
            if name == "epochs":
                raise GrowcError(
                    f"{path}: `epochs` is no setting, but counts updates for one data set",
                    help="give --epochs, or `updates` in the file",
                )
            if name not in DEFAULTS:
                help = did_you_mean(name, DEFAULTS) or f"there are: {', '.join(DEFAULTS)}"
                raise GrowcError(f"{path}: no setting is called `{name}`", help=help)
            if name == "grow" and isinstance(value, list):
                value = _steps_as_text(path, value)
            values[name] = _of_kind(path, name, value)
        return values


def _steps_as_text(path: Path, steps: list[Any]) -> str:
    texts = []
    for step in steps:
        if not isinstance(step, Mapping) or set(step) != {"at", "pass"}:
            raise GrowcError(
                f"{path}: a table of `grow` does not have just `at` and `pass`",
                help='write `[[grow]]`, `at = 1500` and `pass = "r2wider"` on three lines',
            )
        at, passes = step["at"], step["pass"]
        if type(at) is not int or at < 0:
            raise GrowcError(f"{path}: `at` of `grow` is a whole number from 0, not {shown(at)}")
        if type(passes) is not str:
            raise GrowcError(f"{path}: `pass` of `grow` is text, not {shown(passes)}")
        parse_pipeline(passes, f"{path}: grow")
        texts.append(f"at {at}: {passes}")
    return "; ".join(texts)


def _of_kind(path: Path, name: str, value: Any) -> Any:
    if name == "lr_steps" and isinstance(value, list) and all(type(v) is int for v in value):
        return tuple(value)
    hint = get_type_hints(Settings)[name]
    kinds = tuple(k for k in (get_args(hint) or (hint,)) if isinstance(k, type))
    if float in kinds and type(value) is int:
        return as_float(value)
    if name == "lr_steps" or type(value) not in kinds:
        wanted = "a list of whole numbers" if name == "lr_steps" else KIND_WORDS[kinds[0]]
        raise GrowcError(f"{path}: `{name}` is {wanted}, not {shown(value)}")
    return value


DEFAULTS: dict[str, Any] = {field.name: field.default for field in fields(Settings)}
