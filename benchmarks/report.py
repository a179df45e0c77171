"""A run's results as a Markdown page and a picture."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from figures import OURS, Results, median, peers, processors, ratio, spread
from rivals import RIVALS
from workloads import WORKLOADS

HEADER = "<!-- written by `make bench`; what it means is on the page beside -->\n\n# Benchmarks: figures of one run\n"
BUSY = "The machine was busy: these figures say little."
MEANING = "Medians over rounds; a spread is the interquartile range as a share of the median."


def number(value: float) -> str:
    """Return three significant digits, or a dash."""
    if math.isnan(value):
        return "-"
    digits = max(0, 2 - math.floor(math.log10(abs(value)))) if value else 0
    return f"{value:,.{min(digits, 4)}f}"


def markdown(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table, numbers to the right."""
    header = list(header)
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *map(list, rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def titles(workloads: Results) -> dict[str, str]:
    """Return the titles of all rivals that were tried, ours first."""
    tried = {rival for found in workloads.values() for rival in found}
    return {name: rival.title for name, rival in RIVALS.items() if name in tried}


def cell(found: Results | None, value: Callable[[Results], str]) -> str:
    """Return a cell of a rival in a workload: a value, or why there is none."""
    if found is None:
        return ""
    if "absent" in found:
        return "not done"
    return value(found) if found.get("agrees") else "differs"


def grid(workloads: Results, value: Callable[[Results], str]) -> list[list[str]]:
    """Return a row a rival, a column a workload."""
    rows = []
    for rival, title in titles(workloads).items():
        bold = "**" if rival == OURS else ""
        cells = [cell(found.get(rival), value) for found in workloads.values()]
        rows.append([f"{bold}{title}{bold}", *(f"{bold}{text}{bold}" if text else "" for text in cells)])
    return rows


def speed(workloads: Results, kind: str) -> str:
    """Return the table of milliseconds a step, with how far the best peer is from ours."""
    rows = grid(workloads, lambda found: number(median(found, kind)))
    best = {name: next(iter(peers(found, kind)), None) for name, found in workloads.items()}
    rows.append(["best peer", *(RIVALS[rival].title if rival else "-" for rival in best.values())])
    ratios = [ratio(workloads[name], rival, kind) if rival else math.nan for name, rival in best.items()]
    rows.append(["**best peer / mxtrainer**", *(f"**{number(one)}**" for one in ratios)])
    eager = [ratio(found, "torch", kind) if "torch" in found else math.nan for found in workloads.values()]
    rows.append(["PyTorch eager / mxtrainer", *map(number, eager)])
    rows.append(["spread of mxtrainer", *(percent(spread(found[OURS], kind)) for found in workloads.values())])
    rivals = [[one for rival, one in found.items() if rival != OURS and one.get(kind)] for found in workloads.values()]
    worst = [max((spread(one, kind) for one in timed), default=math.nan) for timed in rivals]
    rows.append(["largest spread of a rival", *map(percent, worst)])
    return markdown(["", *workloads], rows)


def percent(value: float) -> str:
    """Return a share in percent, or a dash."""
    return "-" if math.isnan(value) else f"{value:.0%}"


def share(found: Results, low: float) -> str:
    """Return how much of a step's time its matrix products alone would take, given that in milliseconds."""
    return percent(low / median(found, "queued"))


def floors(workloads: Results, found: Results) -> str:
    """Return the table of arithmetic, floor, and the share of it that each framework reaches."""
    rows = [
        ["arithmetic of the matrix products, GFLOP", *(number(found[name]["gflop"]) for name in workloads)],
        ["floor: these products alone, ms", *(number(1e3 * found[name]["floor"]) for name in workloads)],
    ]
    for rival, title in titles(workloads).items():
        lows = [1e3 * found[name]["floor"] for name in workloads]
        timed = [one.get(rival) for one in workloads.values()]
        rows.append([title, *(cell(one, partial(share, low=low)) for one, low in zip(timed, lows))])
    return markdown(["", *workloads], rows)


def agreement(workloads: Results) -> str:
    """Return the table of the largest deviations from ours, of losses and of arrays."""
    rows = []
    for rival, title in titles(workloads).items():
        if rival != OURS:
            cells = [
                "" if rival not in found else "not done" if "absent" in found[rival]
                else f"{found[rival]['losses_differ']:.0e}, {found[rival]['arrays_differ']:.0e}"
                for found in workloads.values()
            ]  # fmt: skip
            rows.append([title, *cells])
    return markdown(["", *workloads], rows)


def reasons(workloads: Results) -> str:
    """Return a line for whatever was not done or not timed."""
    lines = []
    for name, found in workloads.items():
        for rival, one in found.items():
            if "absent" in one:
                lines.append(f"- {name}, {RIVALS[rival].title}: {one['absent']}")
            elif not one.get("agrees"):
                lines.append(f"- {name}, {RIVALS[rival].title}: its results differ, so it was not timed")
    return "\n".join(lines) + "\n" if lines else ""


def noise(workloads: Results) -> str:
    """Return what share of the machine others took while something was timed."""
    rivals = [rival for found in workloads.values() for rival in found.values()]
    shares = [one["others"] for rival in rivals for one in rival.get("queued", [])]
    if not shares:
        return ""
    typical, worst = statistics.median(shares), max(shares)
    text = f"While one was timed, all else took {typical:.1%} of the processors in the median, {worst:.0%} at most."
    return f"{text} **{BUSY}**" if typical > 0.05 else text


def section(threads: str, found: Results) -> str:
    """Return the part of the page for one number of threads."""
    workloads = found["workloads"]
    peak = next(iter(found["floors"].values()))["peak"]
    parts = [
        f"## {threads} thread{'s' if threads != '1' else ''}\n",
        noise(workloads) + "\n",
        "### Milliseconds a step, the loss read at the end\n",
        speed(workloads, "queued"),
        "### Milliseconds a step, the loss read at every step\n",
        speed(workloads, "read"),
        "### Milliseconds until the call returns\n",
        "The median of the calls of the first table.\n",
        markdown(["", *workloads], grid(workloads, lambda one: number(median(one, "queued", "call")))),
        "### Processors at work\n",
        "Processor time of the process by the time of a step, in the first table.\n",
        markdown(["", *workloads], grid(workloads, lambda one: number(processors(one)))),
        "### Share of the floor\n",
        f"Product by product, the faster of MXNet and PyTorch. A product of 1024 cubed runs at {peak:.0f} GFLOP/s.\n",
        floors(workloads, found["floors"]),
        "### How far results are from ours\n",
        "The largest relative deviation of a loss, and of an array: root mean square by largest element.\n",
        agreement(workloads),
        reasons(workloads),
    ]
    return "\n".join(part for part in parts if part)


def page(results: Results, picture: str = "") -> str:
    """Return the whole page."""
    machine = {**results["machine"], **dict(sorted(results["versions"].items()))}
    first = next(iter(results["threads"].values()))["workloads"]
    about = [[name, WORKLOADS[name].about, f"{WORKLOADS[name].timed}"] for name in first]
    parts = [
        HEADER,
        f"{results['rounds']} rounds in {results['minutes']:.0f} minutes. {MEANING}\n",
        markdown(["", "net", "steps timed at once"], about),
        markdown(["machine and versions", ""], machine.items()),
        f"![Time of a step as a multiple of mxtrainer's]({picture})\n" if picture else "",
        *(section(threads, found) for threads, found in results["threads"].items()),
    ]
    return "\n".join(part for part in parts if part)


def plot(results: Results, path: Path) -> None:
    """Draw how many times as long as ours every rival takes, workload by workload, into an SVG."""
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    threads, found = next(iter(results["threads"].items()))
    workloads, names = found["workloads"], titles(found["workloads"])
    with mpl.rc_context({"svg.hashsalt": "mxtrainer", "svg.fonttype": "none"}):
        figure = Figure(figsize=(9, 1.2 + 0.8 * len(workloads)), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        shown = [rival for rival in names if rival != OURS]
        for place, rival in enumerate(shown):
            heights = [ratio(one, rival, "queued") if rival in one else math.nan for one in workloads.values()]
            offsets = [row + 0.8 * (place / len(shown) - 0.5) for row in range(len(workloads))]
            axes.barh(offsets, heights, height=0.75 / len(shown), label=names[rival], color=f"C{place}")
        axes.axvline(1, color="black", linewidth=1)
        axes.set_xscale("log")
        axes.set_yticks(range(len(workloads)), labels=list(workloads))
        axes.invert_yaxis()
        axes.set(xlabel=f"time of a step / mxtrainer's ({threads} threads); right of 1 is slower than mxtrainer")
        axes.grid(axis="x", alpha=0.3)
        axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
        figure.savefig(path, format="svg", metadata={"Date": None})


def write(results: Results, folder: Path | None) -> str:
    """Write page and picture into a folder, if one is given; return the page."""
    if folder is None:
        return page(results)
    folder.mkdir(parents=True, exist_ok=True)
    plot(results, folder / "results.svg")
    text = page(results, "results.svg")
    (folder / "results.md").write_text(text)
    return text
