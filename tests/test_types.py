"""Port types are small values that refuse what cannot be, and that print as a user writes them."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import mxtrainer as mxt
from mxtrainer.plans.types import (
    PortType,
    check_port_type,
    item_if_known,
    item_of,
    length_of,
    on_device,
    with_item,
)
from mxtrainer.values import from_data, to_data

TYPES: list[tuple[PortType, str]] = [
    (mxt.Scalar(), "Scalar()"),
    (mxt.Scalar("int32"), "Scalar(dtype='int32')"),
    (mxt.Vector(3), "Vector(3)"),
    (mxt.Vector(3, dtype="uint8"), "Vector(3, dtype='uint8')"),
    (mxt.Array((3, 4)), "Array((3, 4))"),
    (mxt.Array((3, 4), dtype="uint8"), "Array((3, 4), dtype='uint8')"),
    (mxt.Index(5), "Index(5)"),
    (mxt.Sequence("t", mxt.Index(5)), "Sequence('t', Index(5))"),
    (mxt.Sequence("t", mxt.Array((2, 2), "int8")), "Sequence('t', Array((2, 2), dtype='int8'))"),
]


@pytest.mark.parametrize(("port", "text"), TYPES)
def test_type_prints_as_a_user_writes_it(port: PortType, text: str) -> None:
    assert repr(port) == text
    assert eval(text, vars(mxt)) == port  # noqa: S307 - of the table above


@pytest.mark.parametrize("port", [port for port, _ in TYPES])
def test_type_is_a_value(port: PortType) -> None:
    assert from_data(to_data(port)) == port
    assert pickle.loads(pickle.dumps(port)) == port  # noqa: S301 - our own bytes
    assert hash(copy.deepcopy(port)) == hash(port)
    with pytest.raises(AttributeError):
        port.shape = (1,)  # type: ignore[misc, union-attr]  # the mistake


def test_all_types_of_the_table_differ() -> None:
    assert len({port for port, _ in TYPES}) == len(TYPES)


def test_scalar_and_vector_are_arrays() -> None:
    assert mxt.Scalar() == mxt.Array(())
    assert mxt.Vector(3) == mxt.Array((3,)) == mxt.Array(3) == mxt.Array([3])  # type: ignore[arg-type]  # these do as well
    assert mxt.Vector(1) != mxt.Scalar()


def test_shape_becomes_a_tuple_of_python_integers() -> None:
    shape = mxt.Array([np.int64(3), np.int32(4)]).shape  # type: ignore[arg-type]  # a list does as well
    assert shape == (3, 4)
    assert {type(extent) for extent in shape} == {int}
    assert type(mxt.Index(np.int64(3)).count) is int  # type: ignore[arg-type]  # as above


@pytest.mark.parametrize("dtype", ["uint8", np.uint8, np.dtype("uint8")])
def test_dtype_may_be_given_as_numpy_does(dtype: Any) -> None:
    assert mxt.Vector(3, dtype=dtype) == mxt.Vector(3, "uint8")


@pytest.mark.parametrize("shape", [0, -1, 2.5, "3", b"ab", None, True, (3, 0), (3, None), ((3,),), np.zeros(2)])
def test_shape_of_other_than_positive_integers_is_refused(shape: Any) -> None:
    with pytest.raises(mxt.ArgumentError, match="Array: shape must be a positive integer, or a tuple of them, got"):
        mxt.Array(shape)


@pytest.mark.parametrize("size", [0, -1, 2.5, "3", None, True, (3,)])
def test_size_of_a_vector_must_be_a_positive_integer(size: Any) -> None:
    with pytest.raises(mxt.ArgumentError, match="Vector: size must be a positive integer, got"):
        mxt.Vector(size)


@pytest.mark.parametrize("dtype", ["float16", "uint16", "", 8, bool, ["uint8"]])
def test_dtype_that_cannot_be_transferred_is_refused(dtype: Any) -> None:
    with pytest.raises(mxt.ArgumentError, match="Array: dtype must be one of float32, float64, uint8"):
        mxt.Scalar(dtype)


@pytest.mark.parametrize("count", [0, -1, 2.5, "3", None, True, (3,)])
def test_count_of_an_index_must_be_a_positive_integer(count: Any) -> None:
    with pytest.raises(mxt.ArgumentError, match="Index: count must be a positive integer, got"):
        mxt.Index(count)


def test_numbers_of_an_index_fit_into_int32() -> None:
    assert mxt.Index(2**31).count - 1 == np.iinfo(np.int32).max
    with pytest.raises(mxt.ArgumentError, match=r"Index: count must be at most 2\*\*31"):
        mxt.Index(2**31 + 1)


@pytest.mark.parametrize("length", ["", None, 3, b"t", mxt.Vector(3)])
def test_length_of_a_sequence_must_be_a_name(length: Any) -> None:
    with pytest.raises(mxt.ArgumentError, match='Sequence: the length must be a name such as "t", got'):
        mxt.Sequence(length, mxt.Scalar())


@pytest.mark.parametrize("item", [None, 3, mxt.Vector, mxt.Sequence("t", mxt.Scalar()), mxt.Linear(3)])
def test_item_of_a_sequence_must_be_a_type_and_no_sequence(item: Any) -> None:
    with pytest.raises(mxt.ArgumentError, match="Sequence: the item must be a Scalar, Vector, Array or Index, got"):
        mxt.Sequence("t", item)


def test_item_and_length_of_a_type() -> None:
    tokens = mxt.Sequence("t", mxt.Index(5))
    assert (item_of(tokens), length_of(tokens)) == (mxt.Index(5), "t")
    assert (item_of(mxt.Scalar()), length_of(mxt.Scalar())) == (mxt.Scalar(), None)
    assert (item_if_known(None), item_if_known(tokens)) == (None, mxt.Index(5))
    assert with_item(tokens, mxt.Scalar()) == mxt.Sequence("t", mxt.Scalar())
    assert with_item(mxt.Vector(2), mxt.Scalar()) == mxt.Scalar()
    assert (mxt.Index(5).shape, mxt.Index(5).dtype) == ((), "int32")


def test_type_on_the_device_has_no_dtype_of_its_own() -> None:
    assert on_device(mxt.Vector(3, "uint8")) == mxt.Vector(3)
    assert on_device(mxt.Sequence("t", mxt.Vector(3, "uint8"))) == mxt.Sequence("t", mxt.Vector(3))
    assert on_device(mxt.Sequence("t", mxt.Index(3))) == mxt.Sequence("t", mxt.Index(3))


def test_what_is_no_type_is_refused_with_the_types() -> None:
    assert check_port_type(mxt.Scalar(), "x") == mxt.Scalar()
    with pytest.raises(mxt.ArgumentError, match=r"x must have a type such as Scalar\(\).*got 3$"):
        check_port_type(3, "x")
    with pytest.raises(mxt.ArgumentError, match=r"call it, as in Scalar\(...\)$"):
        check_port_type(mxt.Scalar, "x")
