"""What a Fold refuses: each error names the user's own port or layer, and says what to do."""

from __future__ import annotations

from typing import Any

import pytest
from fold_cells import VECTORS, lstm_fold, tanh_cell, tanh_fold

import mxtrainer as mxt

CELL = tanh_cell(4)
BACK = {"Output": "State"}
LSTM = lstm_fold(4).net


def cell(layers: dict[str, Any], paths: list[Any], **inputs: Any) -> mxt.NetGraph:
    return mxt.NetGraph(layers, paths, inputs=inputs)


CELL_PATHS: list[Any] = [("Input", "tx"), ("State", "th"), (["tx", "th"], "plus", "tanh", "Output")]


def joined(*layers: Any, **inputs: Any) -> mxt.NetGraph:
    """Return a cell that joins input and state."""
    named = {"join": mxt.Catenate(), **{f"layer{number}": layer for number, layer in enumerate(layers)}}
    return cell(named, [(["Input", "State"], *named, "Output")], **inputs)


@pytest.mark.parametrize(
    ("arguments", "kind", "error"),
    [
        ((3, BACK), mxt.ArgumentError, r"takes a net, as in .*got 3"),
        ((mxt.LSTM(3), BACK), mxt.ArgumentError, r"takes a net, as in .*got LSTM\(3\)"),
        ((CELL, None), mxt.ArgumentError, "feedback must map outputs of its net.*got None"),
        ((CELL, "Output"), mxt.ArgumentError, "feedback must map outputs of its net.*got 'Output'"),
        ((CELL, {"Output": 3}), mxt.ArgumentError, "feedback must map outputs of its net"),
        ((CELL, {}), mxt.NetError, r"feedback is empty.*Map\(net\)"),
        ((CELL, {"Outpt": "State"}), mxt.NetError, 'no output "Outpt"; did you mean "Output"'),
        ((CELL, {"Output": "Stat"}), mxt.NetError, 'no input "Stat"; did you mean "State".* Its inputs: Input, State'),
        ((LSTM, {"State": "State", "Output": "State"}), mxt.NetError, '"State" and "Output" both become'),
        ((LSTM, {"Output": "State"}), mxt.NetError, 'has an output "State" too.*another name'),
        ((CELL, BACK, "Input"), mxt.ArgumentError, "constants must be names of inputs"),
        ((CELL, BACK, (3,)), mxt.ArgumentError, "constants must be names of inputs"),
        ((CELL, BACK, ("Memory",)), mxt.NetError, 'no input "Memory". Its inputs: Input, State'),
        ((CELL, BACK, ("State",)), mxt.NetError, '"State" is a state by feedback'),
        ((CELL, BACK, ("Input",)), mxt.NetError, "no sequence to run over"),
        (
            (joined(mxt.Linear(3), State=mxt.Vector(4)), BACK),
            mxt.NetError,
            r'"Output".*Vector\(3\).*"State".*Vector\(4\)',
        ),
        ((joined(mxt.Linear(3), Input=VECTORS), BACK), mxt.NetError, r'"Input".*Vector\(2\), or name it in constants'),
        (
            (mxt.NetChain([mxt.Linear(1), mxt.MeanSquaredLoss()]), {"Loss": "Input"}),
            mxt.NetError,
            'the loss "meansquaredloss".*after the Fold',
        ),
    ],
    ids=str,
)
def test_a_fold_that_cannot_be_is_refused(arguments: tuple[Any, ...], kind: type[mxt.Error], error: str) -> None:
    with pytest.raises(kind, match=f"^Fold: .*{error}"):
        mxt.Fold(*arguments)


@pytest.mark.parametrize(
    ("fold", "port", "error"),
    [
        (tanh_fold(4), mxt.Vector(3), 'port "Input" gets Vector.*needs a Sequence'),
        (tanh_fold(4), None, 'its input "Input" is not determined.*a Sequence'),
        (tanh_fold(4), mxt.Sequence("t", mxt.Index(3)), 'in its net, layer "tx".*an Embedding makes them'),
        (
            mxt.Fold(joined(mxt.Linear(4)), BACK),
            VECTORS,
            r'"State" is not determined.*inputs=\{"State": mxt.Vector\(8\)',
        ),
        (
            mxt.Fold(joined(mxt.Linear(), mxt.Linear(4), State=mxt.Vector(4)), BACK),
            VECTORS,
            r'in its net, layer "layer0" .*give its size, as in Linear\(10\)',
        ),
        (
            mxt.Fold(joined(mxt.Linear(4), mxt.BatchNorm(), State=mxt.Vector(4)), BACK),
            VECTORS,
            'the layer "layer1".*moves its array "layer1.MovingMean".*a LayerNorm',
        ),
        (
            mxt.Fold(joined(mxt.Linear(4), State=mxt.Vector(4), Input=mxt.Vector(3)), BACK),
            VECTORS,
            r'port "Input" gets Vector\(2\) at each step, but its net needs Vector\(3\) there',
        ),
        (
            mxt.Fold(mxt.NetGraph(CELL.layers, [*CELL_PATHS], share={"tx.Weights": "th.Wights"}), BACK),
            VECTORS,
            'in its net, share.*"th.Wights".*did you mean "th.Weights"',
        ),
    ],
    ids=str,
)
def test_a_net_in_which_a_fold_cannot_stand_is_refused(fold: mxt.Fold, port: Any, error: str) -> None:
    with pytest.raises(mxt.NetError, match=f'^layer "fold" .*{error}'):
        mxt.compile_plan(mxt.NetChain([fold], inputs={} if port is None else {"Input": port}), {"Output": 1.0})


def test_sequences_of_two_lengths_are_refused() -> None:
    pair = cell(
        {"plus": mxt.Threading("plus"), "join": mxt.Catenate(), "linear": mxt.Linear(3)},
        [(["Left", "Right"], "plus"), (["plus", "State"], "join", "linear", "Output")],
    )
    with pytest.raises(mxt.NetError, match='ports "Left" and "Right" need sequences of one length'):
        mxt.NetGraph(
            {"fold": mxt.Fold(pair, BACK)},
            [("Left", "fold.Left"), ("Right", "fold.Right"), ("fold", "Output")],
            inputs={"Left": VECTORS, "Right": mxt.Sequence("s", mxt.Vector(2))},
        )


def test_a_state_is_no_sequence() -> None:
    with pytest.raises(mxt.NetError, match=r'port "State" gets Sequence.*a state is one item'):
        mxt.NetGraph(
            {"fold": tanh_fold(2)},
            [("Input", "fold", "Output"), ("Start", "fold.State")],
            inputs={"Input": VECTORS, "Start": VECTORS},
        )


def test_nets_inside_one_another_are_counted_through_folds() -> None:
    net = mxt.NetChain([mxt.Map(mxt.NetChain([mxt.Linear(2)]))])
    assert net.depth == 2
    assert mxt.NetChain({"fold": tanh_fold(2)}).depth == 2
