"""Learning rates that change with the step."""

from .engine.schedules import Schedule, constant, cosine, exponential, one_cycle, piecewise, plateau, polynomial

__all__ = ["Schedule", "constant", "cosine", "exponential", "one_cycle", "piecewise", "plateau", "polynomial"]
