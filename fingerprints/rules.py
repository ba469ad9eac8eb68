"""One rule an op: how the result's fingerprints follow from the operands'.

Linear operators are linear in the fingerprints. All others are opaque functions of what they
depend on, with the few laws that hold for them: f(0) = 0, relu(relu(x)) = relu(x).

An operator that is not defined everywhere, such as a quotient or a logarithm, is taken for a
function that has some value there too.
"""

from . import rules_arithmetic as rules_arithmetic
from . import rules_layers as rules_layers
from . import rules_norms as rules_norms
from . import rules_reduce as rules_reduce
from . import rules_shape as rules_shape
from . import rules_tokens as rules_tokens
