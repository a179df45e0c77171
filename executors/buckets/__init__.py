"""The policies, and the buckets that fit some data best; users have them as `mxtrainer.buckets`."""

from .cut import Cut as Cut
from .fitting import Fitted as Fitted
from .fitting import fit as fit
from .policies import Exact as Exact
from .policies import Fixed as Fixed
from .policies import Geometric as Geometric
from .policies import Multiple as Multiple
from .policies import Policy as Policy
from .policies import Tokens as Tokens

__all__ = ["Cut", "Exact", "Fitted", "Fixed", "Geometric", "Multiple", "Policy", "Tokens", "fit"]
