"""How long a batch stays at each station of an update, and the drawing of them for the page "How it works".

Run as ``OMP_NUM_THREADS=1 python benchmarks/life_of_a_batch.py [steps] [drawing.svg]``. Times are of a trace, by
`Trainer.trace`: medians over the steps of a loop that reads no loss. MXNet's profiler makes the device a little slower.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

from machine import describe
from rivals import ours
from workloads import WORKLOADS

NETS = ("tiny", "mid")
WARM_UP, ROUNDS = 20, 5
HOST, DEVICE = 1, 3  # the groups of rows of a trace
STATIONS = {  # on the host, then on the device
    "check": "check",
    "copy": "copy",
    "queue": "queue",
    "inputs": "inputs",
    "forward": "forward",
    "backward": "backward",
    "verdict and move": "verdict, move, result",
}
ON_HOST = 3

Times = dict[str, float]


def station_of(operator: str) -> str:
    """Return the station that an operator of MXNet belongs to, or a row of several that run in one call."""
    if operator.startswith("judge"):
        return "verdict and move"
    if operator == "copy":
        return "inputs"
    return "backward" if "_backward_" in operator or operator.startswith("CopyCPU2CPU") else "forward"


def seconds_by_station(events: list[dict[str, Any]], steps: int) -> Times:
    """Return the seconds of a step at each station: medians of spans on the host, means of operators on the device."""
    spans: dict[str, list[float]] = defaultdict(list)
    begun: dict[tuple[int, str], float] = {}
    found: Times = dict.fromkeys(STATIONS, 0.0)
    for event in events:
        key = event.get("tid", 0), event["name"]
        if event["ph"] == "X" and event["pid"] == HOST:
            spans[event["name"]].append(event["dur"] / 1e6)
        elif event["ph"] == "B" and event["pid"] == DEVICE:
            begun[key] = event["ts"]
        elif event["ph"] == "E" and event["pid"] == DEVICE and key in begun:
            found[station_of(event["name"])] += (event["ts"] - begun.pop(key)) / 1e6 / steps
    return {**found, **{name: statistics.median(times) for name, times in spans.items() if name in STATIONS}}


def measure(workload: str, steps: int) -> Times:
    """Return the seconds at each station, the smallest of some rounds: what another process takes is no part of it."""
    chosen = WORKLOADS[workload]
    runner, batches = ours.build(chosen, chosen.weights()), chosen.batches()
    rounds = []
    for _ in range(ROUNDS):
        for number in range(WARM_UP):
            runner.step(batches[number % len(batches)])
        runner.finish()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "trace.json"
            with runner.trainer.trace(path):
                for number in range(steps):
                    runner.step(batches[number % len(batches)])
                runner.finish()
            rounds.append(seconds_by_station(json.loads(path.read_text())["traceEvents"], steps))
    return {station: min(found[station] for found in rounds) for station in STATIONS}


def text_of(seconds: float) -> str:
    """Return a time with its unit, two digits of it."""
    return f"{1e6 * seconds:.2g} \N{MICRO SIGN}s" if seconds < 99.5e-6 else f"{1e3 * seconds:.2g} ms"


STYLE = """
text { font: 15px sans-serif; fill: #222 } .small { font-size: 13px; fill: #555 } .lane { font-weight: bold }
rect { fill: #e8eaf6; stroke: #3f51b5 } .device { fill: #e0f2f1; stroke: #00796b } path { stroke: #777; fill: none }
marker path { fill: #777 }
@media (prefers-color-scheme: dark) {
  text { fill: #ddd } .small { fill: #aaa } rect { fill: #283054 } .device { fill: #17413c } }
"""


def box(x: int, y: int, name: str, times: list[str], kind: str) -> str:
    """Return a station as SVG."""
    lines = "".join(
        f'<text class="small" x="{x + 75}" y="{y + 42 + 17 * row}" text-anchor="middle">{line}</text>'
        for row, line in enumerate(times)
    )
    title = f'<text x="{x + 75}" y="{y + 22}" text-anchor="middle">{name}</text>'
    return f'<rect class="{kind}" x="{x}" y="{y}" width="150" height="68" rx="6"/>{title}{lines}'


def drawing(found: dict[str, Times]) -> str:
    """Return the stations as SVG, with the time at each."""
    parts, times = [], {name: [f"{net} {text_of(found[net][name])}" for net in found] for name in STATIONS}
    for place, (name, title) in enumerate(STATIONS.items()):
        on_host = place < ON_HOST
        x, y = (20 + 180 * place, 50) if on_host else (110 + 180 * (place - ON_HOST), 200)
        parts.append(box(x, y, title, times[name], "host" if on_host else "device"))
    parts.append(box(650, 50, "retire", ["the host looks at", "the result"], "host"))
    lanes = {"your thread: update(batch)": (20, 34), "later: current_loss(), update()": (600, 34)}
    lanes["MXNet's thread"] = (110, 292)
    parts += [f'<text class="lane" x="{x}" y="{y}">{lane}</text>' for lane, (x, y) in lanes.items()]
    arrows = ["M170 84H198", "M350 84H378", "M455 118V158H185V198", "M260 234H288", "M440 234H468", "M620 234H648"]
    arrows.append("M725 200V120")
    parts += [f'<path d="{arrow}" marker-end="url(#tip)"/>' for arrow in arrows]
    tip = '<marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    head = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 830 305" role="img">'
    title = "<title>The stations of a batch, with the time at each</title>"
    return "\n".join(
        [
            head,
            title,
            f"<style>{STYLE}</style>",
            f'<defs>{tip}<path d="M0 0L8 4L0 8z"/></marker></defs>',
            *parts,
            "</svg>\n",
        ]
    )


def main(steps: int = 200, picture: str | None = None) -> None:
    """Print a Markdown table; write the drawing."""
    found = {net: measure(net, steps if net == "tiny" else max(1, steps // 5)) for net in NETS}
    print(", ".join(describe().values()))
    print(f"\n| station | {' | '.join(NETS)} |\n|---|{'---:|' * len(NETS)}")
    for name, title in STATIONS.items():
        print(f"| {title} | {' | '.join(text_of(found[net][name]) for net in NETS)} |")
    if picture:
        Path(picture).write_text(drawing(found))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]), *sys.argv[2:3])
