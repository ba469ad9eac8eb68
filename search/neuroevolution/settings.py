"""What a neuroevolution is told, besides what any training run is told: a small TOML file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from ...ir import GrowcError
from ...ir.diagnostics import did_you_mean
from ...ir.toml import KIND_WORDS, as_float, read_toml, shown, to_toml
from .mutation import Mutation, parse_mutations
from .selection import WAYS

MOMENTS = ("shared", "own")
STATISTICS = ("own", "tied")
WIDEST = 1000.0
"""No block is wider than so many times the channels that it ends in."""
R2R_MUTATIONS = (
    "0.15: r2wider{kernel=1}; 0.175: r2wider{kernel=3}; 0.175: r2wider{kernel=5}; "
    "0.15: r2deeper{kernel=1}; 0.175: r2deeper{kernel=3}; 0.175: r2deeper{kernel=5}"
)
"""Deeper or wider with equal chances; windows as in the code of the R2R paper."""


class WrongOption(GrowcError):
    """An option out of range. ``option`` is its name in the file."""

    def __init__(self, option: str, what: str, help: str) -> None:
        super().__init__(f"--{option.replace('_', '-')} {what}", help=help)
        self.option = option


@dataclass(frozen=True)
class Evolution:
    """The parameters of NE (R2R algorithms 1 to 4), by default those of the paper's table 2."""

    iterations: int = 15
    """num_iters: how often models are selected and mutated."""
    first_updates: int = 5_000
    """N_i: updates of the first model alone."""
    updates: int = 5_000
    """N_j: updates of all models together, in each iteration."""
    population: int = 10
    """M: models that are trained together."""
    keep: int = 3
    """K: models that are selected."""
    select: str = "accuracy"
    """``accuracy``, or ``coevolution`` (R2R section 4.3)."""
    mutations: str = R2R_MUTATIONS
    """Passes with their chances, see :func:`parse_mutations`."""
    widths: tuple[float, ...] = (0.5, 1.0, 2.0)
    """Where a mutation has no ``filters``: hidden channels of a new R2R block, as multiples of the
    channels that it ends in, drawn with equal chances. (1,) in the code of the R2R paper."""
    tau: float = 0.0
    """τ: |θ_h| / |θ_m(h)| must be above it (R2R section 4.2)."""
    moments: str = "shared"
    """Whether models that share a parameter share what their optimizers know of it, too, or each
    has its ``own``."""
    statistics: str = "own"
    """Whether each model has its ``own`` running statistics, or those of batch norms before which
    nothing differs are ``tied``; models are then evaluated as one graph."""
    scale_lr: bool = True
    """The learning rate of a child is its parent's, times |θ_h| / |θ_m(h)| (R2R appendix C.3)."""
    scale_weight_decay: bool = False
    ensemble: bool = False
    """Whether a hierarchical ensemble of the models selected at the end is made (section 4.3)."""
    head_updates: int = 0
    """Updates of the ensemble's head; 0: N_j."""

    def __post_init__(self) -> None:
        """Raises :class:`WrongOption`, and :class:`GrowcError` for mutations that are none."""
        for name, choices in (("select", WAYS), ("moments", MOMENTS), ("statistics", STATISTICS)):
            value = getattr(self, name)
            if value not in choices:
                help = did_you_mean(value, choices) or f"there are: {', '.join(choices)}"
                raise WrongOption(name, f"cannot be `{value}`", help)
        for name in ("iterations", "first_updates", "updates", "population", "keep"):
            if getattr(self, name) < 1:
                raise WrongOption(name, f"cannot be {getattr(self, name)}", "give 1 or more")
        if self.head_updates < 0:
            raise WrongOption("head_updates", f"cannot be {self.head_updates}", "give 1 or more")
        if self.head_updates and not self.ensemble:
            raise WrongOption("head_updates", "is for --ensemble", "leave it out")
        if self.keep > self.population:
            raise WrongOption(
                "keep",
                f"cannot be {self.keep}: a population of {self.population} has too few models to "
                "keep as many",
                f"give {self.population} at most, or a larger --population",
            )
        if not 0 <= self.tau < 1:
            raise WrongOption(
                "tau",
                f"cannot be {self.tau:g}: |θ_h| / |θ_m(h)| is below 1 whenever a network grows",
                "give a number below 1, 0 or more",
            )
        if not self.widths or not all(0 < w <= WIDEST for w in self.widths):
            what = f"must be numbers above 0, of at most {WIDEST:g}"
            raise WrongOption("widths", what, "as 0.5 and 1 are")
        parse_mutations(self.mutations)

    @property
    def total_updates(self) -> int:
        """N_i + num_iters · N_j."""
        return self.first_updates + self.iterations * self.updates

    def boundary(self, generation: int) -> int:
        """After how many updates the training of a generation ends; generation 0 is the first
        model alone."""
        return self.first_updates + generation * self.updates

    def parsed_mutations(self) -> Sequence[Mutation]:
        return parse_mutations(self.mutations)

    def as_toml(self) -> str:
        """What ``growc search neuroevolution --search-config`` takes."""
        comments = [
            "What this neuroevolution was told, besides settings.toml.",
            "`growc search neuroevolution --search-config` takes this file.",
        ]
        return to_toml(comments, asdict(self))

    @classmethod
    def from_toml(cls, path: Path) -> dict[str, Any]:
        """The options of a file by name, those only that it has.

        Raises :class:`GrowcError` for a file that cannot be read, an unknown name, and a value of
        another kind.
        """
        found = read_toml(path, "options are lines in TOML, as in `population = 10`")
        defaults = {f.name: f.default for f in fields(cls)}
        for name, value in found.items():
            if name not in defaults:
                help = did_you_mean(name, defaults) or f"there are: {', '.join(defaults)}"
                raise GrowcError(f"{path}: `{name}` is no option of the search", help=help)
            kind = type(defaults[name])
            if kind is tuple and isinstance(value, list):
                if all(type(v) in (int, float) for v in value):
                    found[name] = tuple(map(as_float, value))
            elif kind is float and type(value) is int:
                found[name] = as_float(value)
            if type(found[name]) is not kind:
                wanted = "a list of numbers" if kind is tuple else KIND_WORDS[kind]
                raise GrowcError(f"{path}: `{name}` is {wanted}, not {shown(value)}")
            if name == "mutations":
                parse_mutations(value, f"{path}: mutations")  # a mistake is in the file
        return found

    @classmethod
    def stored(cls, path: Path) -> Evolution:
        """That of a search's folder. Raises :class:`GrowcError` if the file was damaged."""
        try:
            found = cls.from_toml(path)
            missing = [f.name for f in fields(cls) if f.name not in found]
            if missing:
                raise GrowcError(f"{path}: `{missing[0]}` is missing")
            return cls(**found)
        except GrowcError as error:
            message = error.diagnostics[0].message
            place = "" if message.startswith(str(path)) else f"{path}: "
            raise GrowcError(f"{place}{message}", help=RESTORE) from error


RESTORE = "restore the file; a search that was begun goes on as it was told then"
LEAVE_OUT = "leave them out to go on as it was begun, or give another folder"
UNDO = "undo the change in search.toml to go on as it was begun, or give another folder"


def require_same_search(path: Path, stored: Any, given: Evolution, help: str = LEAVE_OUT) -> None:
    """Raise :class:`GrowcError`, with ``help``, naming every option that a search was begun with
    another value of; but there may be more iterations.

    ``stored`` is what :func:`vars` gave of it.
    """
    before: dict[str, Any] = stored if isinstance(stored, dict) else {}
    if isinstance(before.get("iterations"), int) and before["iterations"] <= given.iterations:
        before = before | {"iterations": given.iterations}
    changed = [
        f"--{name.replace('_', '-')} was {before.get(name)}, not {value}"
        for name, value in vars(given).items()
        if before.get(name) != value
    ]
    if changed:
        raise GrowcError(
            f"{path}: the search was begun with other options: {'; '.join(changed)}",
            help=help,
        )
