"""A cycle is a NetError that lists its layers."""

from __future__ import annotations

from net_refusals import graph, refused

import mxtrainer as mxt


def test_cycle_is_refused_and_listed_in_order_from_its_first_layer() -> None:
    layers = {"add": mxt.Threading("plus"), "b": mxt.Linear(3), "c": mxt.Linear(3), "d": mxt.Linear(3)}
    refused(
        graph([(["Input", "c"], "add", "b", "c", "d", "Output")], layers),
        "the net has a cycle: add -> b -> c -> add.",
        "take it out as an output and feed it as an input of the next batch",
    )


def test_cycle_through_a_nested_net_names_the_paths_of_its_layers() -> None:
    inner = mxt.NetGraph({"add": mxt.Threading("plus"), "out": mxt.Linear(3)}, [(["A", "B"], "add", "out", "Output")])
    layers = {"before": mxt.Linear(3), "inner": inner}
    refused(
        graph([("inner", "before", "inner.A"), ("Input", "inner.B"), ("inner", "Output")], layers),
        "cycle: before -> inner.add -> inner.out -> before.",
    )


def test_layer_that_feeds_itself_is_a_cycle() -> None:
    refused(graph([("gru.State", "gru.State"), ("gru", "Output")], {"gru": mxt.GRU(3)}), "cycle: gru -> gru.")
