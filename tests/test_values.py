"""The ground: values as JSON, mappings that cannot change, errors that help, and the rules for numbers and devices."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

import mxtrainer as mxt
from mxtrainer.arguments import positive_int, real_number, shape_of_ints
from mxtrainer.arrays import ArraySpec, as_arrays, as_context, check_dtype
from mxtrainer.errors import nearest, unknown
from mxtrainer.mappings import FrozenMapping
from mxtrainer.values import Value, canonical_json, from_data, open_json, parse_json, register, to_data

HUGE = pytest.param(10**400, id="huge")


@register
@dataclasses.dataclass(frozen=True, repr=False)
class Point(Value):
    x: int
    y: int = 0
    names: Mapping[str, int] = FrozenMapping()
    parts: tuple[int, ...] = dataclasses.field(default_factory=tuple)

    def __post_init__(self) -> None:
        if self.x == 13:
            raise OverflowError("13")


# Values


def test_value_is_frozen_and_hashable() -> None:
    point = Point(1)
    assert hash(point) == hash(Point(1))
    with pytest.raises(dataclasses.FrozenInstanceError):
        point.x = 2  # type: ignore[misc]  # the mistake


def test_value_shows_what_differs_from_its_defaults() -> None:
    assert repr(Point(1)) == "Point(1)"
    assert repr(Point(1, y=2)) == "Point(1, y=2)"
    assert repr(Point(0, parts=(1,))) == "Point(0, parts=(1,))"
    assert repr(mxt.Attention()) == "Attention()"


@pytest.mark.parametrize("point", [Point(1), Point(1, 2), Point(1, 0, FrozenMapping({"a": 1})), Point(1, parts=(1, 2))])
def test_value_comes_back_from_json(point: Point) -> None:
    assert from_data(parse_json(canonical_json(to_data(point)), "point")) == point


def test_data_holds_what_differs_from_the_defaults() -> None:
    assert to_data(Point(1)) == {"type": "Point", "x": 1}
    assert to_data([Point(1, parts=(2,))]) == [{"type": "Point", "x": 1, "parts": [2]}]


def test_lists_come_back_as_tuples_and_objects_as_frozen_mappings() -> None:
    assert from_data([1, [2, None]]) == (1, (2, None))
    assert isinstance(from_data({"a": 1}), FrozenMapping)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({"type": "Pont", "x": 1}, 'unknown type "Pont"; did you mean "Point"?'),
        ({"type": 3}, 'unknown type "3"'),
        ({"type": ["Point"]}, "unknown type"),
        ({"type": "Point"}, 'a "Point" cannot be read: .*missing'),
        ({"type": "Point", "x": 1, "z": 1}, 'a "Point" cannot be read: .*unexpected'),
        ({"type": "Point", "x": 13}, 'a "Point" cannot be read: 13'),
        ({"type": "Point", "x": {"type": "Foo"}}, 'unknown type "Foo"'),
        ({"type": "Index", "count": -1}, 'a "Index" cannot be read: Index: count'),
    ],
)
def test_data_that_are_no_value_are_a_file_format_error(data: Any, text: str) -> None:
    with pytest.raises(mxt.FileFormatError, match=text):
        from_data(data)


def test_class_cannot_take_the_name_of_one_of_this_package() -> None:
    with pytest.raises(mxt.ArgumentError, match=r'there is a class "Linear" in mxtrainer\.plans\.layers\.linear'):
        register(type("Linear", (), {}))
    assert type(from_data({"type": "Linear", "size": 3})) is mxt.Linear


def test_class_of_ones_own_may_be_defined_again() -> None:
    again: type[Any] = register(type("Again", (), {}))
    other: type[Any] = register(type("Again", (), {}))
    assert again is not other
    assert type(from_data({"type": "Again"})) is other


def test_canonical_json_is_compact_keeps_order_and_is_ascii() -> None:
    assert canonical_json({"b": [1, 2.5, None], "a": "ä"}) == '{"b":[1,2.5,null],"a":"\\u00e4"}'


@pytest.mark.parametrize("data", [float("nan"), {"a": float("inf")}, object(), {1, 2}])
def test_what_json_cannot_hold_is_refused(data: Any) -> None:
    with pytest.raises(mxt.ArgumentError, match="this cannot be written as JSON"):
        canonical_json(data)


def test_layer_that_is_no_value_is_refused_with_the_decorator() -> None:
    class Mine(mxt.plans.layers.base.Layer):
        def deduce(self, ports: Any) -> None:
            pass

    net = mxt.NetChain([Mine()])
    with pytest.raises(mxt.ArgumentError, match=r"must be a frozen dataclass with mxtrainer.values.register"):
        net.to_json()


@pytest.mark.parametrize("text", ["", "{", "nul", '{"a": NaN}', "[" * 10**5])
def test_text_that_is_no_json_is_a_file_format_error(text: str) -> None:
    with pytest.raises(mxt.FileFormatError, match="thing: not JSON, or truncated"):
        parse_json(text, "thing")


@pytest.mark.parametrize(("text", "kind"), [("3", "int"), ("[]", "list"), ("null", "NoneType")])
def test_json_that_is_no_object_is_a_file_format_error(text: str, kind: str) -> None:
    with pytest.raises(mxt.FileFormatError, match=f"thing: expected a JSON object, got {kind}"):
        parse_json(text, "thing")


def test_format_and_version_are_checked() -> None:
    assert open_json('{"format": "f", "version": 2, "x": 1}', "thing", "f", 2)["x"] == 1
    for text, found in [
        ("{}", 'thing: expected format "f", found None'),
        ('{"format": "f", "version": 1}', "thing: this mxtrainer reads version 2, found 1$"),
        ('{"format": "f", "version": 3}', "found 3; a newer mxtrainer wrote it"),
        ('{"format": "f"}', "found None$"),
    ]:
        with pytest.raises(mxt.FileFormatError, match=found):
            open_json(text, "thing", "f", 2)


# Mappings


def test_frozen_mapping_is_a_mapping_in_order() -> None:
    mapping = FrozenMapping({"b": 1, "a": 2})
    assert (list(mapping), len(mapping), dict(mapping)) == (["b", "a"], 2, {"b": 1, "a": 2})
    assert "a" in mapping
    assert 3 not in mapping  # type: ignore[comparison-overlap]  # the point
    assert repr(mapping) == "{'b': 1, 'a': 2}"


def test_frozen_mappings_are_equal_whatever_the_order() -> None:
    one, other = FrozenMapping({"b": 1, "a": 2}), FrozenMapping({"a": 2, "b": 1}, "port", "the net")
    assert one == other
    assert hash(one) == hash(other)
    assert one == {"a": 2, "b": 1}
    assert one != FrozenMapping({"a": 2})


def test_frozen_mapping_cannot_be_changed_and_does_not_follow_its_source() -> None:
    source = {"a": 1}
    mapping: Any = FrozenMapping(source)
    source["b"] = 2
    assert dict(mapping) == {"a": 1}
    with pytest.raises(TypeError):
        mapping["a"] = 2
    with pytest.raises(TypeError):
        del mapping["a"]
    with pytest.raises(AttributeError):
        mapping.items = {}


@pytest.mark.parametrize("name", ["Inptu", 3, None, ["Input"]])
def test_missing_name_is_an_unknown_name_error_and_a_key_error(name: Any) -> None:
    mapping = FrozenMapping({"Input": 1}, "input", "the plan")
    with pytest.raises(mxt.UnknownNameError, match="the plan has no input"):
        mapping[name]
    assert issubclass(mxt.UnknownNameError, KeyError)


def test_get_of_a_missing_name_gives_the_default() -> None:
    mapping = FrozenMapping({"a": 1})
    assert (mapping.get("a"), mapping.get("b"), mapping.get("b", 3)) == (1, None, 3)


def test_frozen_mapping_can_be_pickled_with_its_error_texts() -> None:
    mapping = FrozenMapping({"Input": 1}, "input", "the plan")
    for back in (pickle.loads(pickle.dumps(mapping)), copy.deepcopy(mapping)):  # noqa: S301 - our own bytes
        assert back == mapping
        with pytest.raises(mxt.UnknownNameError, match="the plan has no input"):
            back["Inptu"]


# Errors


def test_every_error_is_an_error_of_this_package() -> None:
    kinds = [found for found in vars(mxt.errors).values() if isinstance(found, type) and issubclass(found, Exception)]
    assert len(kinds) > 7
    assert all(issubclass(kind, mxt.Error) for kind in kinds)


def test_errors_are_also_what_python_calls_them() -> None:
    assert issubclass(mxt.ArgumentError, ValueError)
    assert issubclass(mxt.BatchError, mxt.ArgumentError)


def test_every_error_is_in_the_tree_of_the_errors_file() -> None:
    text = mxt.errors.__doc__ or ""
    kinds = [
        name for name, found in vars(mxt.errors).items() if isinstance(found, type) and issubclass(found, Exception)
    ]
    assert [name for name in kinds if name not in text] == []


def test_unknown_name_error_shows_its_sentence_and_not_its_repr() -> None:
    assert str(unknown("port", "x", [], "the net")) == 'the net has no port "x". Known: none'
    assert str(mxt.UnknownNameError()) == ""


def test_step_error_keeps_step_and_cause_when_pickled() -> None:
    error = mxt.StepError("failed", 3, ValueError("x"))
    for back in (error, pickle.loads(pickle.dumps(error)), copy.copy(error)):  # noqa: S301 - our own bytes
        assert (str(back), back.step, type(back.cause)) == ("failed", 3, ValueError)
    assert mxt.StepError("failed", 3).cause is None


def test_nearest_does_not_mind_case_or_what_is_no_text() -> None:
    assert nearest("input", ["Input", "INPUT"]) == '; did you mean "Input"?'
    assert nearest(3, ["Input"]) == nearest(None, []) == ""


# Arrays


def test_size_of_an_array_is_exact_however_large() -> None:
    spec = ArraySpec("a", (10**12, 10**12), "float32", None)
    assert spec.size == 10**24
    assert ArraySpec("a", (), "float32", None).size == 1


def test_arrays_come_from_a_net_or_a_mapping() -> None:
    net = mxt.NetChain([mxt.Linear(3)]).with_arrays({"linear.Biases": np.zeros(3)})
    assert list(as_arrays(net)) == ["linear.Biases"]
    assert as_arrays({"a": 1}) == {"a": 1}


@pytest.mark.parametrize("arrays", [None, 3, "a", [1], np.zeros(3)])
def test_arrays_of_something_else_are_refused(arrays: Any) -> None:
    with pytest.raises(mxt.ArgumentError, match=f"arrays= must be a net with arrays.*got {type(arrays).__name__}"):
        as_arrays(arrays)


@pytest.mark.parametrize("dtype", ["float32", np.float32, np.dtype("float32")])
def test_dtype_may_be_a_name_or_numpys(dtype: Any) -> None:
    assert check_dtype(dtype) == "float32"


@pytest.mark.parametrize("found", [0, -1, 1.0, "1", None, True, np.float64(1), np.bool_(True)])
def test_positive_integer_is_checked(found: Any) -> None:
    with pytest.raises(mxt.ArgumentError, match="size must be a positive integer, got"):
        positive_int(found, "size")


def test_numbers_become_pythons() -> None:
    assert type(positive_int(np.uint8(3), "x")) is int
    assert type(real_number(np.float32(3), "x")) is float
    assert type(real_number(3, "x")) is float
    assert shape_of_ints([np.int64(2), 3], "x") == (2, 3)
    assert shape_of_ints((), "x") == ()
    assert shape_of_ints(4, "x") == (4,)


@pytest.mark.parametrize(
    "found",
    [
        None,
        "1",
        True,
        float("nan"),
        -float("inf"),
        HUGE,
        1j,
        np.bool_(True),
        np.float32("nan"),
    ],
)
def test_real_number_is_checked(found: Any) -> None:
    with pytest.raises(mxt.ArgumentError, match="rate must be a finite number, got"):
        real_number(found, "rate")


# Devices


def test_device_is_a_name_with_or_without_a_number_or_a_context() -> None:
    context = as_context("cpu")
    assert context == as_context("cpu:0") == as_context(context)
    assert as_context("cpu:3").device_id == 3


@pytest.mark.parametrize("device", [None, 0, "", "CPU", "tpu", "cpu:", "cpu:x", "cpu:-1", "cpu:0:0", ["cpu"]])
def test_device_that_is_unknown_is_refused(device: Any) -> None:
    with pytest.raises(mxt.ArgumentError, match='device must be "cpu", "gpu" or one with a number'):
        as_context(device)


class Features:
    """What MXNet says of its build, with or without CUDA."""

    def __init__(self, cuda: bool) -> None:
        self.cuda = cuda

    def is_enabled(self, name: str) -> bool:
        assert name == "CUDA"
        return self.cuda


def test_gpu_is_refused_by_a_build_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mxnet.runtime.Features", lambda: Features(cuda=False))
    with pytest.raises(mxt.ArgumentError, match=r'device "gpu:1": this build of MXNet has no GPU support.*mxnet-cu112'):
        as_context("gpu:1")


def test_gpu_that_the_machine_does_not_have_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mxnet.runtime.Features", lambda: Features(cuda=True))
    monkeypatch.setattr("mxnet.context.num_gpus", lambda: 2)
    assert as_context("gpu:1").device_id == 1
    assert as_context("gpu").device_type == "gpu"
    with pytest.raises(mxt.ArgumentError, match='device "gpu:2": this machine has 2 GPUs, counted from 0'):
        as_context("gpu:2")
