"""What the entries of a module's state dict are in the network that was read from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from ...ir.diagnostics import plural
from ...ir.ops import BatchNorm
from ...ir.weights import NO_ENTRY, Foreign
from .naming import Naming
from .values import Notes


@dataclass(frozen=True)
class Entries:
    """``stored`` are the module's tensors by name, ``persistent`` those in its state dict, and
    ``first`` the name that a tensor has first, by its identity."""

    stored: Mapping[str, Tensor]
    persistent: set[str]
    first: Mapping[int, str]
    naming: Naming
    notes: Notes

    def foreign(self) -> dict[str, Foreign]:
        """What the entries of the module's state dict are, where names do not say it."""
        parts = self._parts()
        foreign: dict[str, Foreign] = {}
        forgotten: list[str] = []
        counted = self._counters(parts)
        for name, tensor in self.stored.items():
            if name not in self.persistent:
                continue
            found = parts.get(self.first[id(tensor)], Foreign(()))
            if name.endswith("num_batches_tracked"):
                found = counted.get(name, found)
            elif not found.names:
                forgotten.append(name)
            if found != Foreign((name,)):
                foreign[name] = found
        shared = {key for node in self.naming.graph for key in node.shared.values()}
        targets = {name for here in foreign.values() for name in here.names}
        for key in targets | {self.naming.keys[key] for key in shared}:
            if parts.get(key) == Foreign((key,)):
                foreign.setdefault(key, Foreign((key,)))
        own = self._own(foreign)
        if own:
            foreign[NO_ENTRY] = Foreign(own)
        if forgotten:
            self.notes.add(
                f"the network does not compute with {plural(len(forgotten), 'stored tensor')} as "
                f"it is: {', '.join(forgotten[:5])}" + (", …" if len(forgotten) > 5 else "")
            )
        return foreign

    def _counters(self, parts: Mapping[str, Foreign]) -> dict[str, Foreign]:
        """The counters of batch norms, which are beside their running means."""
        found = {}
        for name, here in parts.items():
            if name.endswith("running_mean") and len(here.names) == 1:
                there, ours = (n.removesuffix("running_mean") for n in (name, here.names[0]))
                found[f"{there}num_batches_tracked"] = Foreign((f"{ours}num_batches_tracked",))
        return found

    def _own(self, foreign: Mapping[str, Foreign]) -> tuple[str, ...]:
        """What the network has stored, and no entry of the module's state dict is."""
        graph = self.naming.graph
        counters = [
            f"{self.naming.found[node.name]}.num_batches_tracked"
            for node in graph
            if isinstance(node.op, BatchNorm)
        ]
        taken = {name for here in foreign.values() for name in here.names}
        taken |= self.persistent - foreign.keys()
        ours = [self.naming.keys[key] for key in graph.parameters()]
        return tuple(name for name in (*ours, *counters) if name not in taken)

    def _parts(self) -> dict[str, Foreign]:
        """Name of a stored tensor → the parameters that are all of it."""
        rows: dict[str, list[tuple[tuple[int, int], str, bool]]] = {}
        for key, source in self.naming.sources.items():
            if source.name is not None and source.exact and key in self.naming.keys:
                size = len(self.stored[source.name]) if self.stored[source.name].ndim else 1
                part = (source.rows or (0, size), self.naming.keys[key], source.transposed)
                rows.setdefault(source.name, []).append(part)
        found = {}
        for name, parts in rows.items():
            parts.sort()
            ends = [0, *(stop for (_, stop), _, _ in parts)]
            size = len(self.stored[name]) if self.stored[name].ndim else 1
            whole = [part for part in parts if part[0] == (0, size)]
            if whole and parts[1:]:
                copies = ", ".join(f"`{key}`" for _, key, _ in parts if key != whole[0][1])
                self.notes.add(f"{copies} is a copy of a part of `{name}`: training parts them")
                parts = whole[:1]
                ends = [0, size]
            if [start for (start, _), _, _ in parts] == ends[:-1] and ends[-1] == size:
                found[name] = Foreign(tuple(key for _, key, _ in parts), parts[0][2])
        return found
