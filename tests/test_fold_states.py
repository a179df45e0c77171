"""What the states of a Fold start at, and how a trainer carries them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from fold_cells import ROWS, SIZE, VECTORS, arrays_of_gates, drawn, lstm_fold, passed, plan_of, ragged, tanh_cell
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from state_cases import recurrent_plan, sequence, window

import mxtrainer as mxt

in_both_ways = pytest.mark.usefixtures("both_ways")
SOME = settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.slow
@in_both_ways
@pytest.mark.parametrize("initial", [0.3, "learned"])
def test_a_fold_starts_where_the_layer_starts_that_it_is(initial: Any) -> None:
    fold, layer = lstm_fold(SIZE), mxt.LSTM(SIZE, initial=initial)
    fold = mxt.Fold(fold.net, fold.feedback, initial=initial)
    expected = mxt.compile_plan(
        mxt.NetGraph({"lstm": layer}, [("Input", "lstm", "Output")], inputs={"Input": VECTORS}),
        {"Output": 1.0},
        dtype="float64",
    )
    plan = mxt.compile_plan(
        mxt.NetGraph({"fold": fold}, [("Input", "fold", "Output")], inputs={"Input": VECTORS}),
        {"Output": 1.0},
        dtype="float64",
    )
    arrays = {path[len("lstm.") :]: drawn(*spec.shape) for path, spec in expected.parameters.items()}
    begins = {name: array for name, array in arrays.items() if name.startswith("Initial")}
    cell = {f"fold.{name}": array for name, array in {**arrays_of_gates(arrays, "ifgo"), **begins}.items()}
    batch = {"Input": ragged([4, 6, 1], 2)}
    found = passed(plan, batch, cell)
    of_layer = passed(expected, batch, {f"lstm.{name}": array for name, array in arrays.items()})
    for name in ("Output", "gradient Input"):
        np.testing.assert_allclose(found[name], of_layer[name], atol=1e-9)
    for name in begins:
        np.testing.assert_allclose(found[f"gradient fold.{name}"], of_layer[f"gradient lstm.{name}"], atol=1e-9)
    assert mxt.check_gradients(plan, batch).exact
    assert mxt.check_padding(plan, batch).exact


def test_the_type_of_a_state_may_say_what_it_starts_at() -> None:
    cell = tanh_cell(SIZE)
    typed = mxt.NetGraph(
        dict(cell.layers),
        [("Input", "tx"), ("State", "th"), (["tx", "th"], "plus", "tanh", "Output")],
        inputs={"State": mxt.Vector(SIZE, initial=0.25)},
    )
    own, same = (
        passed(plan_of(fold, {"Input": VECTORS}), {"Input": drawn(ROWS, 6, 2)}, {})
        for fold in (mxt.Fold(typed, {"Output": "State"}), mxt.Fold(cell, {"Output": "State"}, initial=0.25))
    )
    for name, array in own.items():
        np.testing.assert_array_equal(array, same[name])
    plan = mxt.compile_plan(
        mxt.NetChain([mxt.Fold(typed, {"Output": "State"})], inputs={"Input": VECTORS}).with_states(), {"Output": 0.0}
    )
    assert plan.inputs["fold.State"].initial == 0.25
    with pytest.raises(mxt.ArgumentError, match='Fold: initial must be a number, or "learned"'):
        mxt.Fold(cell, {"Output": "State"}, initial="ones")


@pytest.mark.slow
@in_both_ways
@SOME
@given(
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=3),
    size=st.integers(1, 6),
    overlap=st.integers(0, 5),
    bucketed=st.booleans(),
)
def test_windows_of_a_stream_give_what_whole_sequences_give(
    lengths: list[int], size: int, overlap: int, bucketed: bool
) -> None:
    plan = recurrent_plan(lstm_fold(3))
    sequences = [sequence(steps, number) for number, steps in enumerate(lengths)]
    options = {"lengths": {"t": size}} if bucketed else {}
    trainer, whole = (mxt.Trainer(plan, mxt.SGD(0.0), 2, carry=True, **more) for more in (options, {}))  # type: ignore[arg-type]
    total = 0.0
    for batch in mxt.stream(sequences, window=size, rows=2, overlap=min(overlap, size - 1)):
        trainer.update(batch)
        total += trainer.current_loss("sum")["Loss"]
    expected = whole.evaluate(window(sequences, [0] * len(lengths), lengths)).losses
    assert total / sum(lengths) == pytest.approx(expected["Loss"], rel=1e-4)
