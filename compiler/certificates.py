"""Certificates: what was proved about which networks, so that anyone can check it again."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from ..grammar import dumps
from ..ir import Graph, GrowcError
from ..ir.weights import to_bytes
from ..proof import Comparison, Proof, Prover
from .driver import Compiled

FORMAT = 1


def fingerprint_of(graph: Graph) -> dict[str, str]:
    """SHA-256 of a network's canonical text and of its weights' safetensors content."""
    return {
        "net": hashlib.sha256(dumps(graph).encode()).hexdigest(),
        "weights": hashlib.sha256(to_bytes(graph)).hexdigest(),
    }


def certificate(compiled: Compiled, numeric: Comparison | None = None) -> dict[str, Any]:
    """The certificate of a compile: networks by hash, passes, and each claim's proof.

    ``numeric`` compares the first and the last network on random inputs, where they were run.
    """
    from .. import __version__

    steps = [
        {
            "pass": str(step.applied),
            "at": [place.name for place in step.result.places],
            "claims": list(step.result.claim.modes),
            "exact": step.result.claim.exact,
            "proof": as_json(step.proof) if step.proof else None,
            "numeric": [d.as_json() for d in step.check.differences] if step.check else None,
        }
        for step in compiled.steps
    ]
    return {
        "format": FORMAT,
        "growc": __version__,
        "before": fingerprint_of(compiled.start),
        "after": fingerprint_of(compiled.graph),
        "passes": steps,
        "end_to_end": as_json(compiled.whole) if compiled.whole else None,
        "numeric": [d.as_json() for d in numeric.differences] if numeric else None,
    }


def as_json(proof: Proof) -> dict[str, Any]:
    """A proof as plain data."""
    return {
        "verdict": proof.verdict,
        "modes": list(proof.modes),
        "proved_modes": list(proof.proved_modes),
        "seed": proof.seed,
        "primes": list(proof.primes),
        "channels": proof.channels,
        "parting": str(proof.parting) if proof.parting else None,
    }


def to_text(compiled: Compiled, numeric: Comparison | None = None) -> str:
    """The certificate as JSON text."""
    return json.dumps(certificate(compiled, numeric), indent=2, ensure_ascii=False) + "\n"


def recheck(path: str | Path, before: Graph, after: Graph) -> Proof:
    """Prove again what a certificate says of two networks, with the certificate's primes.

    Raises :class:`GrowcError` if the file is not a certificate, is about other networks, holds no
    proof from end to end, or if the proof does not come out as it says.
    """
    stored = _read(Path(path))
    for side, graph in (("before", before), ("after", after)):
        found = fingerprint_of(graph)
        for what, word in (("net", "text"), ("weights", "weights")):
            if stored[side].get(what) != found[what]:
                raise GrowcError(
                    f"{path}: the certificate is about another network: the {word} of the one "
                    f"{side} the passes differ",
                    help="give the networks in the order in which they were compiled",
                )
    said = stored.get("end_to_end")
    if not isinstance(said, dict):
        raise GrowcError(
            f"{path}: the certificate holds no proof from end to end",
            help="a pass in it does not claim to preserve the function exactly",
        )
    try:
        seed, modes = int(said["seed"]), tuple(map(str, said["modes"]))
        primes, verdict = tuple(map(int, said["primes"])), said["verdict"]
    except (KeyError, TypeError, ValueError):
        raise _not_a_certificate(path) from None
    if not set(modes) <= {"eval", "train"} or not modes or seed < 0:
        raise _not_a_certificate(path)
    proof = Prover(seed)(before, after, modes, search=False)
    if proof.primes != primes or proof.verdict != verdict:
        raise GrowcError(
            f"{path}: the certificate says {verdict}, but the proof comes out {proof.verdict}",
            help="it was altered, or made by another version of growc",
        )
    return proof


def _read(path: Path) -> dict[str, Any]:
    if path.is_dir():
        raise GrowcError(f"{path}: is a folder, not a certificate")
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise GrowcError(f"{path}: no such file") from None
    except OSError as error:
        raise GrowcError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (ValueError, RecursionError):
        raise _not_a_certificate(path) from None
    fits = isinstance(stored, dict) and stored.get("format") == FORMAT
    if not fits or not all(isinstance(stored.get(k), dict) for k in ("before", "after")):
        raise _not_a_certificate(path)
    return stored  # type: ignore[no-any-return]


def _not_a_certificate(path: str | Path) -> GrowcError:
    return GrowcError(
        f"{path}: not a certificate of this version of growc",
        help="certificates are the .proof.json files that `growc compile` writes",
    )
