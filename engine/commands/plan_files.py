"""The files that a command takes: a plan or a net as JSON, a checkpoint, or a net with its arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...errors import FileFormatError
from ...plans.compile import compile_plan
from ...plans.formats.safetensors_file import NET
from ...plans.net import FORMAT as NET_FORMAT
from ...plans.net import NetGraph
from ...plans.plan import Plan
from ...tensor_file import TensorFile
from ...values import parse_json
from ..checkpoint import KEY, Description
from ..saved import arguments_of


@dataclass(frozen=True)
class PlanFile:
    """What a file says.

    Attributes:
        plan: The plan; of a net, with weight 0 for every output that is no loss.
        options: The arguments of the trainer that a checkpoint is of; empty for other files.
    """

    plan: Plan
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_checkpoint(self) -> bool:
        """Whether it is of a trainer."""
        return bool(self.options)

    @property
    def has_lengths(self) -> bool:
        """Whether numbers of steps are known, or there are none."""
        return not self.plan.lengths or bool(self.is_checkpoint and self.options["buckets"].known(self.plan.lengths))


def read_plan(path: Path) -> PlanFile:
    """Return what a file says; runs no code of the file.

    Raises:
        FileFormatError: It is none of these files, or damaged.
        NetError: The net is not complete.
    """
    try:
        with path.open("rb") as file:
            begin = file.read(64)
        if begin.lstrip()[:1] == b"{":  # safetensors begin with a number, whose first byte is a multiple of 8
            return _of_json(path.read_text(encoding="utf-8"), str(path))
    except UnicodeDecodeError as error:
        raise FileFormatError(f"{str(path)!r} is no UTF-8 text: {error}") from error
    except OSError as error:
        raise FileFormatError(f"{str(path)!r} cannot be read: {error}") from error
    with TensorFile(path, "a plan, a net or a checkpoint") as tensors:
        if KEY in tensors.metadata:
            description = Description.from_text(tensors.metadata[KEY], tensors.name)
            return PlanFile(description.plan, _options(description, tensors.name))
        if NET in tensors.metadata:
            return PlanFile(_plan_of(NetGraph.from_json(tensors.metadata[NET])))
    raise FileFormatError(f"{str(path)!r} has arrays alone: give a plan, a net, or a checkpoint of Trainer.save")


def _of_json(text: str, name: str) -> PlanFile:
    try:
        if parse_json(text, "the file").get("format") == NET_FORMAT:
            return PlanFile(_plan_of(NetGraph.from_json(text)))
        return PlanFile(Plan.from_json(text))
    except FileFormatError as error:
        raise FileFormatError(f"{name!r}: {error}") from error


def _plan_of(net: NetGraph) -> Plan:
    nodes, outputs = net.graph.nodes, net.graph.outputs
    others = [port for port, source in outputs.items() if source.node and not nodes[source.node].layer.is_loss]
    return compile_plan(net, dict.fromkeys(others, 0.0))


def _options(description: Description, name: str) -> Mapping[str, Any]:
    """Return the arguments of the trainer; without the optimizer, where no file holds it. Its rate does not matter."""
    options = arguments_of(description, name, {"optimizer": description.optimizer})
    return {key: found for key, found in options.items() if found is not None}
