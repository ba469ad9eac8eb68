"""Channel fingerprints: which channels of which networks are the same function of the inputs.

They decide proofs (``proof/``) and find what is dead, double or common (``passes/``). Exact, in
numpy, without running a network.
"""

from . import rules as rules  # registers the rule of every op
from .axes import prefers_last
from .field import Field, Residues
from .prints import Fingerprinter, Print, rule, rule_of

__all__ = [
    "Field",
    "Fingerprinter",
    "Print",
    "Residues",
    "prefers_last",
    "rule",
    "rule_of",
]
