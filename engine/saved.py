"""How a trainer is saved, and goes on from a file."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..arguments import as_path
from ..errors import ArgumentError, Error, FileFormatError
from ..executors.judges import STAMPS
from ..tensor_file import TensorFile, write
from .checkpoint import KEY, Copies, Description, as_json, restore, restore_streams
from .moves import Moves
from .optimizers import Optimizer
from .saver import Saver
from .stepper import Stepper
from .streams import Streams

OPTIONS = (
    "batch_size", "buckets", "depth", "guard", "on_nan", "carry", "state_capacity", "total_steps", "input_gradients",
    "bytes_kept", "segment",
)  # fmt: skip


class Saved(Stepper):
    """The part of a trainer that is saved.

    Args:
        options: Arguments of the trainer, by name.
        moves: The optimizer's moves.
        streams: The streams whose states are carried, if any are.
        parts: What the rest is made of.
    """

    def __init__(self, options: Mapping[str, Any], moves: Moves, streams: Streams | None, *parts: Any) -> None:
        """Save nothing yet."""
        super().__init__(*parts)
        self._options = dict(options)
        self._moves = moves
        self._streams = streams
        self._saver = Saver()

    def save(self, path: str | os.PathLike[str], *, wait: bool = True) -> None:
        """Write a checkpoint: all that the next steps depend on, as the steps queued so far leave it.

        It holds parameters and auxiliary arrays, the optimizer and its state, the learning rate's schedule, the weights
        of losses, carried states by stream, the seed, the number of the last step, and `position`. The file is a
        safetensors file, and replaces one that is there in one piece: whatever happens meanwhile, the file is the old
        one or the new one.

        Of several workers worker 0 writes, with its own carried states; the others return.

        Args:
            path: The file.
            wait: Whether to wait until the file is on the disk. If not, copies on the device are queued, as large as
                all that is saved, and another thread writes them while training goes on; it is told later, by the next
                `save` or `close`, if that went wrong.

        Raises:
            ArgumentError: The file cannot be written; or it is, and may not outlast a machine that stops now.
            Error: A step has been begun by `compute` or `accumulate`, or the last checkpoint could not be written.
            StepError: A step failed.

        Example:
            >>> import tempfile
            >>> from mxtrainer import Linear, MeanSquaredLoss, NetChain, SGD, Scalar, Trainer, compile_plan
            >>> net = NetChain([Linear(), MeanSquaredLoss()], inputs={"Input": Scalar(), "Target": Scalar()})
            >>> trainer = Trainer(compile_plan(net), SGD(0.1), batch_size=2)
            >>> step = trainer.update({"Input": [1.0, 2.0], "Target": [2.0, 4.0]})
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     trainer.save(f"{folder}/run.safetensors")
            ...     Trainer.load(f"{folder}/run.safetensors").step
            1
        """
        self._save(path, wait, {}, lambda: None)

    def _save(
        self, path: str | os.PathLike[str], wait: bool, more: Mapping[str, str], after: Callable[[], None]
    ) -> None:
        """Write a checkpoint with more text in its metadata, and do something once it is on the disk."""
        target = Path(as_path(path, "path")).absolute()  # where the caller is now
        with self._alone:
            self._check_alive()
            self._check_not_begun("save")
            self._saver.wait()
            if wait:
                self._steps.collect()
            if self._steps.rank:
                return  # worker 0 writes, and all have the same arrays
            text = self._description().to_text()
            copies, due = Copies(self._store, self._moves, self._streams, self._steps.passed), self._steps.tick % STAMPS

            def job() -> None:
                tensors = copies.tensors()
                if copies.passed() != due:
                    raise Error("a step before it failed")
                if self._steps.guards_some and not copies.finite():
                    raise Error("its parameters are not finite, and no guard has seen it yet")
                write(target, tensors, {KEY: text, **more})
                after()

            self._saver.start(job)
            if wait:
                self._saver.wait()

    def _description(self) -> Description:
        streams = self._streams
        return Description(
            plan=self._store.plan,
            optimizer=self._recipe.optimizer,
            rate=self._recipe.schedule,
            options=_checked(self._options),
            states=len(self._moves.states) and self._moves.states[0].shape[0],
            kind=type(self._recipe.optimizer).__name__,
            step=self.step,
            seed=self._store.seed,
            position=self.position,
            loss_weights=self._recipe.loss_weights.all,
            streams=() if streams is None else tuple(streams),
            fresh=() if streams is None else streams.fresh,
            dropped=0 if streams is None else streams.dropped,
        )

    def _go_on(self, file: TensorFile, description: Description) -> None:
        """Take over what a checkpoint holds.

        Raises:
            FileFormatError: It does not fit.
        """
        restore(file, self._store, self._moves)
        if self._streams is not None and description.streams and not self._steps.rank:
            restore_streams(file, description, self._streams)
        weights = description.loss_weights
        known = {port: weights[port] for port in self.loss_weights if port in weights}
        self._recipe.loss_weights.update(known)
        self._steps.begin_after(description.step)
        self._position = description.position
        self._given = description.step


def arguments_of(description: Description, name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of the trainer that goes on from a checkpoint.

    Args:
        description: What the checkpoint says.
        name: The file.
        given: Arguments that are to be others than before.

    Raises:
        ArgumentError: What no file holds is not given.
        FileFormatError: The checkpoint has no such arguments.
    """
    if set(description.options) != set(OPTIONS):
        raise FileFormatError(f"{name!r}: its options are others than {', '.join(OPTIONS)}")
    for argument in ("plan", "seed", "arrays"):
        if argument in given:
            raise ArgumentError(f"load: {argument}= comes from the file; Trainer(...) makes one with another")
    options = {**description.options, **given}
    if not options["carry"] and "state_capacity" not in given:
        options["state_capacity"] = None
    if given.get("lengths") is not None:
        options.pop("buckets")
    if isinstance(options.get("carry"), Mapping):
        options["carry"] = dict(options["carry"]) or False
    if "optimizer" not in given:
        options["optimizer"] = _optimizer_of(description, name)
    elif isinstance(given["optimizer"], Optimizer):
        _check_kind(description, name, given["optimizer"])
    return options


def _checked(options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return options that a file can hold.

    Raises:
        ArgumentError: It cannot hold the buckets.
    """
    if as_json(options["buckets"]) is None:
        raise ArgumentError(
            f"buckets={options['buckets']!r} cannot be saved: a policy of your own must be a frozen dataclass with "
            f"mxtrainer.values.register"
        )
    return options


def _check_kind(description: Description, name: str, optimizer: Optimizer) -> None:
    """Check that an optimizer can go on with the state in a file.

    Raises:
        ArgumentError: It has another formula.
    """
    kind, states = type(optimizer).__name__, optimizer.formula.states
    if (kind, states) != (description.kind, description.states):
        raise ArgumentError(
            f"{name!r} has {description.states} states of {description.kind}, which {optimizer!r} would read as its "
            f"own {states}: give one of the same kind, or start anew, as in Trainer(plan, {kind}(), arrays=...)"
        )


def _optimizer_of(description: Description, name: str) -> Optimizer:
    what = None
    if description.optimizer is None:
        what = "its optimizer is one that no file holds"
    elif description.rate is None:
        what = "its learning rate was a function, which no file holds"
    if what is not None or description.optimizer is None:
        raise ArgumentError(f"{name!r}: {what}: give it again, as in Trainer.load(path, optimizer=mxt.Adam(rate))")
    return replace(description.optimizer, learning_rate=description.rate)
