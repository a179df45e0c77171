"""Optimizers: value objects that say how parameters move."""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..arguments import real_number
from ..errors import ArgumentError
from ..values import Value, register
from . import formulas
from .formulas import Formula
from .rules import Pairs, Rules, Settings, check_rules, check_settings
from .schedules import Rate, check_schedule

if TYPE_CHECKING:
    from typing_extensions import Self


@dataclass(frozen=True, repr=False)
class Optimizer(Value):
    """The base of the optimizers: what they all have.

    A step moves each array in this order: the gradient of the weighted mean loss is scaled so that the norm of all of
    it is at most `clip_norm`; its elements are clipped; the weight decay is added to it, ``g + weight_decay * w``,
    except in AdamW and LAMB, which take it from the array by itself; the optimizer's formula moves the array; its
    elements are clipped. Numbers that are the same for all arrays can be others by `rules`.

    To write one of your own, make it a frozen dataclass with `mxtrainer.values.register`, and give it a `formula`.

    Args:
        learning_rate: The step size: a number, a value of `mxtrainer.schedules`, or a function of (step, total).
        weight_decay: How much of each array is added to its gradient.
        clip_norm: The largest norm of the gradient of all arrays that move, together; None: any.
        clip_gradient: The largest absolute value of a gradient's element; None: any.
        clip_weights: The largest absolute value of an array's element after a move; None: any.
        rules: Pairs of a pattern and a `Rule`: what is done otherwise for arrays whose whole path the pattern matches,
            a glob such as "lstm.*Biases", or that belong to the layer or the net of that name. Setting by setting, the
            first rule that matches counts.

    Raises:
        ArgumentError: A number is outside of its range, or a rule is none.
    """

    learning_rate: Rate = 0.01
    weight_decay: float = 0.0
    clip_norm: float | None = None
    clip_gradient: float | None = None
    clip_weights: float | None = None
    rules: Rules = ()

    def __new__(cls, *positional: object, **_: object) -> Self:
        """Refuse a second number without a name: to other libraries it is the momentum, or beta1.

        Raises:
            ArgumentError: There is one.
        """
        if len(positional) > 1:
            raise ArgumentError(f"{cls.__name__} takes only the learning rate without a name, got {positional!r}")
        return super().__new__(cls)

    def __post_init__(self) -> None:
        """Check the numbers."""
        name = type(self).__name__
        object.__setattr__(self, "learning_rate", check_schedule(self.learning_rate, f"{name}: learning_rate"))
        check_settings(self)
        if self.weight_decay is None:
            raise ArgumentError(f"{name}: weight_decay must be a number, got None")
        if self.clip_norm is not None:
            self._check("clip_norm", above=0.0)
        object.__setattr__(self, "rules", check_rules(self.rules, name))

    @property
    def formula(self) -> Formula:
        """What it does to each number."""
        raise TypeError(f"{type(self).__name__} does not define formula")

    @property
    def constants(self) -> tuple[float, ...]:
        """The numbers that its formula takes, the same at every step."""
        return ()

    @property
    def pairs(self) -> Pairs:
        """The rules, as pairs."""
        return check_rules(self.rules, type(self).__name__)

    @property
    def settings(self) -> Settings:
        """What it does with arrays that no rule matches."""
        clip_gradient, clip_weights = (
            math.inf if limit is None else limit for limit in (self.clip_gradient, self.clip_weights)
        )
        return Settings(1.0, self.weight_decay, clip_gradient, clip_weights)

    def _check(self, field: str, **limits: float) -> None:
        """Check that a field is a number within its limits."""
        what = f"{type(self).__name__}: {field}"
        found = real_number(getattr(self, field), what)
        object.__setattr__(self, field, found)
        holds: dict[str, Any] = {"least": operator.ge, "above": operator.gt, "below": operator.lt}
        words = {"least": "at least", "above": "above", "below": "below"}
        if not all(holds[kind](found, limit) for kind, limit in limits.items()):
            expected = " and ".join(f"{words[kind]} {limit:g}" for kind, limit in limits.items())
            raise ArgumentError(f"{what} must be {expected}, got {found:g}")

    def _check_flag(self, field: str) -> None:
        found = getattr(self, field)
        if not isinstance(found, bool):
            raise ArgumentError(f"{type(self).__name__}: {field} must be True or False, got {found!r}")


@register
@dataclass(frozen=True, repr=False)
class SGD(Optimizer):
    """Stochastic gradient descent, with momentum: ``m = momentum * m + learning_rate * g``, ``w -= m``.

    With `nesterov`, ``w -= momentum * m + learning_rate * g``.

    Args:
        learning_rate: The step size; all of `Optimizer` can be given too.
        momentum: How much of the last move stays, from 0 to below 1.
        nesterov: Whether the gradient counts as if it had been taken further along.

    Raises:
        ArgumentError: A number is outside of its range.

    References: Polyak 1964, "Some methods of speeding up the convergence of iteration methods"; Sutskever et al. 2013,
    "On the importance of initialization and momentum in deep learning".

    Example:
        >>> SGD(0.1, momentum=0.9)
        SGD(0.1, momentum=0.9)
    """

    learning_rate: Rate = 0.01
    momentum: float = 0.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        """Check the numbers."""
        super().__post_init__()
        self._check("momentum", least=0.0, below=1.0)
        self._check_flag("nesterov")
        if self.nesterov and not self.momentum:
            raise ArgumentError("SGD: nesterov=True needs a momentum above 0")

    @property
    def formula(self) -> Formula:
        """What it does to each number."""
        if not self.momentum:
            return formulas.DESCENT
        return formulas.NESTEROV if self.nesterov else formulas.MOMENTUM

    @property
    def constants(self) -> tuple[float, ...]:
        """The momentum."""
        return (self.momentum,)


@register
@dataclass(frozen=True, repr=False)
class Adam(Optimizer):
    """Adam: steps by the mean gradient over the root of the mean square, both corrected for their start.

    ``m = beta1 m + (1 - beta1) g``, ``v = beta2 v + (1 - beta2) g**2``,
    ``w -= learning_rate * (m / (1 - beta1**t)) / (sqrt(v / (1 - beta2**t)) + epsilon)``, where ``t`` counts the moves
    of the array.

    Args:
        learning_rate: The step size; all of `Optimizer` can be given too.
        beta1: How much of the mean stays at each step.
        beta2: How much of the mean square stays at each step.
        epsilon: Added to the root, at least 1e-30.

    Raises:
        ArgumentError: A number is outside of its range.

    Reference: Kingma and Ba 2014, "Adam: a method for stochastic optimization", Algorithm 1.

    Example:
        >>> Adam(learning_rate=1e-2)
        Adam(0.01)
    """

    learning_rate: Rate = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        """Check the numbers."""
        super().__post_init__()
        self._check("beta1", least=0.0, below=1.0)
        self._check("beta2", least=0.0, below=1.0)
        self._check("epsilon", least=1e-30)  # its product with the root is still a float32

    @property
    def formula(self) -> Formula:
        """What it does to each number."""
        return formulas.ADAM

    @property
    def constants(self) -> tuple[float, ...]:
        """The betas and epsilon."""
        return self.beta1, self.beta2, self.epsilon


@register
@dataclass(frozen=True, repr=False)
class AdamW(Adam):
    """Adam with a weight decay of its own: ``w -= learning_rate * weight_decay * w``, beside Adam's move.

    Args:
        learning_rate: The step size; all of `Optimizer` can be given too.
        beta1: How much of the mean stays at each step.
        beta2: How much of the mean square stays at each step.
        epsilon: Added to the root, at least 1e-30.

    Raises:
        ArgumentError: A number is outside of its range.

    Reference: Loshchilov and Hutter 2019, "Decoupled weight decay regularization", Algorithm 2.

    Example:
        >>> AdamW(weight_decay=0.1)
        AdamW(weight_decay=0.1)
    """

    weight_decay: float = 0.01

    @property
    def formula(self) -> Formula:
        """What it does to each number."""
        return formulas.ADAMW


@register
@dataclass(frozen=True, repr=False)
class LAMB(Adam):
    """LAMB: Adam's direction, with the weight decay in it, made as long as the array it moves.

    ``u = m / (1 - beta1**t) / (sqrt(v / (1 - beta2**t)) + epsilon) + weight_decay * w``,
    ``w -= learning_rate * |w| / |u| * u``, with norms over each array; a factor of 1 where a norm is 0.

    Args:
        learning_rate: The step size; all of `Optimizer` can be given too.
        beta1: How much of the mean stays at each step.
        beta2: How much of the mean square stays at each step.
        epsilon: Added to the root, at least 1e-30.

    Raises:
        ArgumentError: A number is outside of its range.

    Reference: You et al. 2020, "Large batch optimization for deep learning: training BERT in 76 minutes", Algorithm 2.

    Example:
        >>> LAMB(weight_decay=0.1)
        LAMB(weight_decay=0.1)
    """

    weight_decay: float = 0.01
    epsilon: float = 1e-6

    @property
    def formula(self) -> Formula:
        """What it does to each number."""
        return formulas.LAMB


@register
@dataclass(frozen=True, repr=False)
class RMSProp(Optimizer):
    """RMSProp: steps by the gradient over the root of the mean of its square, which may be centred and have momentum.

    ``v = beta v + (1 - beta) g**2``, ``a = beta a + (1 - beta) g``, ``m = momentum m + learning_rate * g / (sqrt(v) +
    epsilon)``, with ``v - a**2`` in place of ``v`` where centred; ``w -= m``.

    Args:
        learning_rate: The step size; all of `Optimizer` can be given too.
        beta: How much of the mean square stays at each step.
        epsilon: Added to the root, at least 1e-30.
        momentum: How much of the last move stays, from 0 to below 1.
        centred: Whether the square of the mean is taken from the mean of the square.

    Raises:
        ArgumentError: A number is outside of its range.

    References: Tieleman and Hinton 2012, "Lecture 6.5: rmsprop"; Graves 2013, "Generating sequences with recurrent
    neural networks", equations 38 to 41, with epsilon beside the root.

    Example:
        >>> RMSProp(1e-3, momentum=0.9, centred=True)
        RMSProp(0.001, momentum=0.9, centred=True)
    """

    learning_rate: Rate = 1e-2
    beta: float = 0.99
    epsilon: float = 1e-8
    momentum: float = 0.0
    centred: bool = False

    def __post_init__(self) -> None:
        """Check the numbers."""
        super().__post_init__()
        self._check("beta", least=0.0, below=1.0)
        self._check("epsilon", least=1e-30)
        self._check("momentum", least=0.0, below=1.0)
        self._check_flag("centred")

    @property
    def formula(self) -> Formula:
        """What it does to each number."""
        if self.centred:
            return formulas.RMSPROP_CENTRED
        return formulas.RMSPROP_MOMENTUM if self.momentum else formulas.RMSPROP

    @property
    def constants(self) -> tuple[float, ...]:
        """Beta, epsilon and momentum."""
        return self.beta, self.epsilon, self.momentum


@register
@dataclass(frozen=True, repr=False)
class SignSGD(Optimizer):
    """Steps by the sign of the gradient, or, with momentum, of its mean (Signum).

    ``m = momentum m + (1 - momentum) g``, ``w -= learning_rate * sign(m)``.

    Args:
        learning_rate: The step size; all of `Optimizer` can be given too.
        momentum: How much of the mean stays at each step, from 0 to below 1.

    Raises:
        ArgumentError: A number is outside of its range.

    Reference: Bernstein et al. 2018, "signSGD: compressed optimisation for non-convex problems", Algorithms 1 and 2.

    Example:
        >>> SignSGD(1e-4, momentum=0.9)
        SignSGD(0.0001, momentum=0.9)
    """

    learning_rate: Rate = 1e-3
    momentum: float = 0.0

    def __post_init__(self) -> None:
        """Check the numbers."""
        super().__post_init__()
        self._check("momentum", least=0.0, below=1.0)

    @property
    def formula(self) -> Formula:
        """What it does to each number."""
        return formulas.SIGN_OF_MEAN if self.momentum else formulas.SIGN

    @property
    def constants(self) -> tuple[float, ...]:
        """The momentum."""
        return (self.momentum,)


@register
@dataclass(frozen=True, repr=False)
class Adagrad(Optimizer):
    """Adagrad: steps by the gradient over the root of the sum of its squares: ``v += g**2``.

    ``w -= learning_rate * g / (sqrt(v) + epsilon)``.

    Args:
        learning_rate: The step size; all of `Optimizer` can be given too.
        epsilon: Added to the root, at least 1e-30.

    Raises:
        ArgumentError: A number is outside of its range.

    Reference: Duchi, Hazan and Singer 2011, "Adaptive subgradient methods for online learning and stochastic
    optimization".

    Example:
        >>> Adagrad(0.1)
        Adagrad(0.1)
    """

    learning_rate: Rate = 1e-2
    epsilon: float = 1e-10

    def __post_init__(self) -> None:
        """Check the numbers."""
        super().__post_init__()
        self._check("epsilon", least=1e-30)

    @property
    def formula(self) -> Formula:
        """What it does to each number."""
        return formulas.ADAGRAD

    @property
    def constants(self) -> tuple[float, ...]:
        """Epsilon."""
        return (self.epsilon,)
