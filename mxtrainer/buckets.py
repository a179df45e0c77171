"""How lengths become buckets: policies, and `fit`, which finds the buckets that pad some data the least."""

from .executors.buckets import Exact, Fitted, Fixed, Geometric, Multiple, Policy, Tokens, fit

__all__ = ["Exact", "Fitted", "Fixed", "Geometric", "Multiple", "Policy", "Tokens", "fit"]
