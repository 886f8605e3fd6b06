"""What the rounds of peers.py say: a row for the JSON, and tables in Markdown."""

import json
import statistics
import time
from pathlib import Path

from machine import describe
from peer_processes import BUSY, OURS, Run

SHORT = {
    OURS: "fastconv",
    f"{OURS} float32": "ours float32",
    "pytorch contiguous": "torch",
    "pytorch channels_last": "torch cl",
    "pytorch contiguous, tuned malloc": "torch m",
    "pytorch channels_last, tuned malloc": "torch cl m",
    "tensorflow": "TF",
    "onnxruntime": "ORT",
    "openvino": "OpenVINO",
}
LEGEND = """\
ms a step, median of the rounds. cl: channels_last; m: a malloc that keeps large
buffers. *Ratio*: median over rounds of best peer / fastconv, with its range. *FLOP/s*,
*GB/s*: share of what the machine reaches just before the row, of float32 multiply-adds
and of memory (operands of all kernels; what stays in a cache may exceed it). *Others*:
share of the CPUs that other processes used. In brackets: left out after its warm-up,
as another mode of the library was 1.5 times faster; -: {missing}.
"""


def row(run: Run, others: float, goal: float | None) -> dict:
    """Medians, the ratio to the best peer, and shares of the machine's peak."""
    times = {name: worker.times for name, worker in run.workers.items()}
    medians = {name: statistics.median(t) for name, t in times.items() if t}
    peers = {name: ms for name, ms in medians.items() if name != OURS}
    best = min(peers, key=peers.__getitem__, default=None)
    found = {
        "row": run.task.name,
        "model": run.task.model,
        "batch": run.task.batch,
        "mode": run.task.mode,
        "dtype": run.task.dtype,
        "threads": run.setting.threads or describe()["cpus"],
        "goal": goal,
        "ours_ms": medians.get(OURS),
        "peers_ms": peers,
        "best_peer": best,
        "rounds_ms": times,
        "left_out_ms": run.left_out,
        "missing": run.missing,
        "versions": {n: w.first["version"] for n, w in run.workers.items()},
        "cpu_share_of_others": others,
        "measured": time.strftime("%Y-%m-%d %H:%M"),
        "machine": describe(),
    }
    if OURS in medians:
        facts = run.workers[OURS].first["facts"]
        found |= {"facts": facts, **_shares(facts, medians[OURS])}
        if best:
            pairs = zip(times[best], times[OURS], strict=False)
            ratios = [peer / ours for peer, ours in pairs]
            found["ratio"] = statistics.median(ratios)
            found["ratio_range"] = [min(ratios), max(ratios)]
    return found


def _shares(facts: dict, ms: float) -> dict[str, float]:
    peak = facts["peak"]
    return {
        "share_of_flops": facts["flops"] / ms / 1e6 / peak["gflops"],
        "share_of_bandwidth": facts["bytes"] / ms / 1e6 / peak["gbytes_per_second"],
    }


def memory_row(run: Run) -> dict:
    """The peak of resident memory while training, less what the library is itself."""
    peaks: dict[str, dict[str, float]] = {}
    for name, worker in run.workers.items():
        peak = worker.ask("memory")["peak_mib"]
        imported = worker.first["imported_mib"]
        peaks[name] = {"peak_mib": peak, "step_mib": peak - imported}
    steps = {name: found["step_mib"] for name, found in peaks.items()}
    ours = steps.pop(OURS, None)
    return {
        "row": run.task.name,
        "memory": peaks,
        "ratio": ours / min(steps.values()) if ours and steps else None,
        "missing": run.missing,
        "machine": describe(),
    }


def geometric_means(rows: list[dict]) -> dict[str, float]:
    """Of the ratios, by mode."""
    found: dict[str, list[float]] = {}
    for one in rows:
        if one.get("ratio"):
            found.setdefault(one["mode"], []).append(one["ratio"])
    return {mode: statistics.geometric_mean(ratios) for mode, ratios in found.items()}


def merge(path: Path, rows: list[dict], order: list[str]) -> list[dict]:
    """The rows in the file with the new ones instead of those of their names."""
    old = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() else []
    found = {one["row"]: one for one in [*old, *rows]}
    return sorted(
        found.values(),
        key=lambda one: order.index(one["row"]) if one["row"] in order else len(order),
    )


def table(rows: list[dict]) -> str:
    """All rows in Markdown, a column an engine, and the geometric means."""
    columns = [name for name in SHORT if any(_known(one, name) for one in rows)]
    missing = sorted({f"{SHORT[name]}, {why}" for one in rows
                      for name, why in one["missing"].items()})  # fmt: skip
    head = ["row", *(SHORT[name] for name in columns), "ratio", "range", "goal"]
    head += ["FLOP/s", "GB/s", "others"]
    lines = [_line(head), "|---|" + "---:|" * (len(head) - 1)]
    lines += [_line([one["row"], *(_ms(one, name) for name in columns), *_end(one)])
              for one in rows]  # fmt: skip
    means = geometric_means(rows)
    lines += ["", *(f"Geometric mean, {mode}: {m:.2f}" for mode, m in means.items())]
    if any(one["cpu_share_of_others"] > BUSY for one in rows):
        lines.append("Rows with an exclamation mark: the machine was not idle.")
    legend = LEGEND.format(missing="; ".join(missing) or "not measured")
    return "\n".join([*lines, "", legend])


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _known(one: dict, name: str) -> bool:
    return name in one["rounds_ms"] or name in one["left_out_ms"]


def _ms(one: dict, name: str) -> str:
    value = one["ours_ms"] if name == OURS else one["peers_ms"].get(name)
    if value is not None:
        return f"{value:.4g}"
    return f"({one['left_out_ms'][name]:.4g})" if name in one["left_out_ms"] else "-"


def _end(one: dict) -> list[str]:
    if one["ours_ms"] is None:
        return ["-"] * 6
    ratio, span = ("-", "-")
    if "ratio" in one:
        low, high = one["ratio_range"]
        ratio, span = f"**{one['ratio']:.2f}**", f"{low:.2f}-{high:.2f}"
    others = one["cpu_share_of_others"]
    return [
        ratio, span, str(one["goal"] or "-"), f"{one['share_of_flops']:.0%}",
        f"{one['share_of_bandwidth']:.0%}", f"{others:.0%}{'!' * (others > BUSY)}",
    ]  # fmt: skip


def memory_table(rows: list[dict]) -> str:
    """Peak memory of a training step in Markdown."""
    lines = ["| row | engine | MiB at most | of them not the library | ratio |"]
    lines.append("|---|---|---:|---:|---:|")
    for one in rows:
        for name, found in one["memory"].items():
            ratio = f"{one['ratio']:.2f}" if name == OURS and one["ratio"] else ""
            lines.append(_line([one["row"], name, f"{found['peak_mib']:.0f}",
                                f"{found['step_mib']:.0f}", ratio]))  # fmt: skip
        lines += [_line([one["row"], name, why, "", ""])
                  for name, why in one["missing"].items()]  # fmt: skip
    return "\n".join(lines)
