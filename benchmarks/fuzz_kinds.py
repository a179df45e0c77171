"""What is fuzzed: each kind of file is a line of `KINDS`. A further kind is a function for each of three things."""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from fuzz_mutations import Generator, as_text, changed_bytes, changed_json
from fuzz_onnx import damaged_model, load_model, models
from fuzz_symbols import damaged_symbol, load_symbol, symbol_plan, symbols

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import checkpoint_cases  # noqa: E402 - the cases lie beside the tests, which are no package
from layer_cases import CASES, Extents  # noqa: E402
from net_cases import nested, translator  # noqa: E402
from plan_cases import full_plan  # noqa: E402

import mxtrainer as mxt  # noqa: E402
from mxtrainer.engine.checkpoint import KEY  # noqa: E402
from mxtrainer.tensor_file import CHECKSUMS  # noqa: E402

EXTENTS = Extents(2, 2, 3, {"a": 2, "b": 3, "h": 4, "w": 5}, 0)


class Kind(NamedTuple):
    """A kind of file.

    Attributes:
        originals: Makes files that are good.
        damaged: Makes another of one, with a generator that decides how.
        load: Reads one; may raise mxtrainer's errors only.
    """

    originals: Callable[[], list[bytes]]
    damaged: Callable[[Generator, bytes], bytes]
    load: Callable[[Path], object]


# Plans


def plans() -> list[bytes]:
    """Return a plan of each layer of the tests' table, and some of many layers."""
    many = [
        full_plan(),
        symbol_plan(),
        mxt.compile_plan(nested().with_states()),
        mxt.compile_plan(translator(), {"Output": 1.0}),
    ]
    return [plan.to_json().encode() for plan in [*(case.plan(EXTENTS, "float32") for case in CASES), *many]]


def damaged_plan(generator: Generator, data: bytes) -> bytes:
    """Return a plan with other bytes, with other JSON, or with other JSON and the hash that belongs to it."""
    way = generator.random()
    if way < 0.2:
        return changed_bytes(generator, data)
    text = json.loads(data)
    if way < 0.3:
        return as_text(generator, changed_json(generator, text)).encode()
    return _hashed(as_text(generator, changed_json(generator, text["plan"])), text).encode()


def _hashed(body: str, text: dict[str, Any]) -> str:
    """Return the text of a plan with another body, and its hash."""
    head = {key: found for key, found in text.items() if key != "plan"}
    head["content_hash"] = hashlib.sha256(body.encode()).hexdigest()
    return json.dumps(head, separators=(",", ":"))[:-1] + f',"plan":{body}}}'


def load_plan(path: Path) -> object:
    """Read it as a plan, from whatever text it is."""
    return mxt.Plan.from_json(path.read_bytes().decode(errors="surrogateescape"))


# Checkpoints


def checkpoints() -> list[bytes]:
    """Return one of each kind of training of the resume matrix, and one with all that may be in a description."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "run")
        for cell in checkpoint_cases.CELLS[::2]:
            with checkpoint_cases.trainer_of(cell) as trainer:
                batches = checkpoint_cases.endless(checkpoint_cases.batches_of(cell))
                checkpoint_cases.take(trainer, batches, 2)
                trainer.save(path)
                found.append(path.read_bytes())
        rules = {"lstm.*": mxt.Rule(learning_rate_multiplier=0.5), "linear.Biases": mxt.Rule(frozen=True)}
        optimizer = mxt.AdamW(mxt.schedules.cosine(0.1, steps=9), clip_norm=1.0, rules=rules)
        options: dict[str, Any] = {"carry": True, "segment": 4, "state_capacity": 10_000, "total_steps": 9}
        with mxt.Trainer(checkpoint_cases.plan_of(0.3), optimizer, 3, **options) as trainer:
            trainer.save(path)
            found.append(path.read_bytes())
    return found


def damaged_checkpoint(generator: Generator, data: bytes) -> bytes:
    """Return a checkpoint with other bytes, or changed behind the checks: sizes, checksums and hashes fit again."""
    if generator.random() < 0.2:
        return changed_bytes(generator, data)
    size = int.from_bytes(data[:8], "little")
    header, tensors = json.loads(data[8 : 8 + size]), data[8 + size :]
    about = json.loads(header["__metadata__"][KEY])
    way = int(generator.integers(8))
    if way == 0:
        header = changed_json(generator, header)
    elif way == 1:
        header["__metadata__"][CHECKSUMS] = as_text(
            generator, changed_json(generator, json.loads(header["__metadata__"][CHECKSUMS]))
        )
    elif way == 2:
        tensors = changed_bytes(generator, tensors)[: len(tensors)].ljust(len(tensors), b"\xff")
        header["__metadata__"][CHECKSUMS] = json.dumps(_sums(header, tensors))
    elif way == 3:
        header["__metadata__"][KEY] = as_text(generator, changed_json(generator, about))
    else:
        part = "plan" if way == 4 else "options"
        about[part] = _changed_part(generator, about[part])
        header["__metadata__"][KEY] = as_text(generator, about)
    text = as_text(generator, header).encode()
    return len(text).to_bytes(8, "little") + text + tensors


def _changed_part(generator: Generator, part: Any) -> Any:
    if isinstance(part, str):
        return damaged_plan(generator, part.encode()).decode(errors="replace")
    return changed_json(generator, part)


def _sums(header: dict[str, Any], tensors: bytes) -> dict[str, int]:
    spans = {name: found["data_offsets"] for name, found in header.items() if name != "__metadata__"}
    return {name: zlib.crc32(tensors[begin:end]) for name, (begin, end) in spans.items()}


def load_checkpoint(path: Path) -> None:
    """Go on from it."""
    mxt.Trainer.load(path).close()


KINDS = {
    "plan": Kind(plans, damaged_plan, load_plan),
    "checkpoint": Kind(checkpoints, damaged_checkpoint, load_checkpoint),
    "symbol": Kind(symbols, damaged_symbol, load_symbol),
    "onnx": Kind(models, damaged_model, load_model),
}
