"""What the programs in bench/ compute besides times: problems, ratios, tables."""

import json
import os
from types import SimpleNamespace

import first_step
import op_models
import ops
import peer_report
import pytest
from machine import Load
from peer_models.task import Task
from peer_processes import OURS, MissingError, Process, Setting
from peers import ROWS, chosen_engines, chosen_tasks
from problems import parse, read

from fastconv.ops.geometry import output_shape, window

PROBLEMS = list(read("conv*"))
TORCH = "pytorch contiguous"


def worker(times, **first):
    return SimpleNamespace(times=times, first={"version": "1", **first})


def run(ours, peer):
    """Two libraries with these times, on a machine of 100 GFLOP/s and 10 GB/s."""
    peak = {"gflops": 100.0, "gbytes_per_second": 10.0}
    facts = {"flops": 50_000_000, "bytes": 4_000_000, "peak": peak}
    return SimpleNamespace(
        task=Task("lenet", 64, "train"), setting=Setting("python"),
        workers={OURS: worker(ours, facts=facts), TORCH: worker(peer)},
        left_out={"pytorch channels_last": 9.0}, missing={"tensorflow": "absent"},
    )  # fmt: skip


@pytest.mark.parametrize("problem", PROBLEMS, ids=str)
def test_problems_have_outputs(problem):
    axes = len(problem.sizes("i"))
    geometry = window(
        "conv", (problem["n"], *problem.sizes("i"), problem["c"]), problem.sizes("w"),
        out_channels=problem["k"], strides=problem.sizes("s"),
        padding=problem.padding, dilation=problem.sizes("d"), groups=problem["g"],
    )  # fmt: skip
    assert output_shape(geometry, axes)[1:-1] == op_models.output(problem)
    assert problem["c"] % problem["g"] == problem["k"] % problem["g"] == 0


def test_every_network_has_its_shapes():
    nets = {problem.name.split(":")[0] for problem in read("conv_*")}
    assert nets >= {
        "alexnet", "c3d", "densenet121", "googlenet", "lenet", "mcdcnn", "mobilenetv2",
        "resnet50", "resnext50", "unet", "vgg16",
    }  # fmt: skip
    chosen = ops.chosen_problems(["*"])
    assert len({problem.text for problem in chosen}) == len(chosen) > 200
    assert {ops.family(problem) for problem in chosen} == set(ops.CLASSES)


def test_operations_of_a_convolution():
    problem = parse("a", *["n2", "i5x4", "c6", "k8", "w3x2", "s2x1", "p1x0", "g2"])
    assert op_models.output(problem) == (3, 3)
    assert op_models.flops(problem) == 2 * (2 * 3 * 3 * 8) * (3 * 3 * 2)


def test_a_row_of_paired_ratios():
    row = peer_report.row(run([1.0, 2.0, 1.0], [2.0, 3.0, 4.0]), 0.01, 1.5)
    assert row["ratio"] == 2.0
    assert row["ratio_range"] == [1.5, 4.0]
    assert row["share_of_flops"] == pytest.approx(0.5)
    assert row["share_of_bandwidth"] == pytest.approx(0.4)
    text = peer_report.table([row])
    assert "| train/lenet/b64 | 1 | 3 | (9) | **2.00** | 1.50-4.00 | 1.5 |" in text
    assert "Geometric mean, train: 2.00" in text
    assert "TF, absent" in text
    assert json.loads(json.dumps(row)) == row


def test_a_row_without_ours():
    lost = run([], [2.0])
    del lost.workers[OURS]
    row = peer_report.row(lost, 0.2, None)
    assert row["ours_ms"] is None
    assert "| train/lenet/b64 | 2 |" in peer_report.table([row])


def test_rows_replace_those_of_their_name(tmp_path):
    path = tmp_path / "results.json"
    path.write_text(json.dumps({"rows": [{"row": "b", "n": 1}, {"row": "a", "n": 1}]}))
    found = peer_report.merge(path, [{"row": "a", "n": 2}], ["a", "b"])
    assert found == [{"row": "a", "n": 2}, {"row": "b", "n": 1}]


def test_rows_by_pattern():
    plain = SimpleNamespace(
        rows=["infer/vgg16", "train/lenet/b64"], dtype="float32", isa="", threads=0,
        memory=False,
    )  # fmt: skip
    assert [(task.name, goal) for task, goal in chosen_tasks(plain)] == [
        ("train/lenet/b64", 3.0), ("infer/vgg16/b8", 2.2), ("infer/vgg16/b1", 1.7),
    ]  # fmt: skip
    everything = SimpleNamespace(**{**vars(plain), "rows": ["*"], "isa": "avx2"})
    assert len(chosen_tasks(everything)) == len(ROWS)
    assert not any(goal for _, goal in chosen_tasks(everything))


def test_integers_are_for_inference():
    chosen = SimpleNamespace(
        rows=["*"], dtype="int8", isa="", threads=0, memory=False, peers=["*"]
    )
    tasks = chosen_tasks(chosen)
    assert {task.mode for task, _ in tasks} == {"infer"}
    names = [engine.name for engine in chosen_engines(tasks[0][0], chosen)]
    assert names == [OURS, f"{OURS} float32", "onnxruntime", "openvino"]
    plain = SimpleNamespace(**{**vars(chosen), "dtype": "float32"})
    task = Task("lenet", 64, "infer")
    assert f"{OURS} float32" not in [e.name for e in chosen_engines(task, plain)]


def test_parts_of_the_first_step():
    row = first_step.measured("train/lenet/b64", 1)
    parts = [row[part] for part in dict.fromkeys(first_step.WATCHED.values())]
    assert all(ms >= 0 for ms in parts)
    assert sum(parts) + row["rest"] == pytest.approx(row["first"])
    assert row["trace"] > 0 < row["run"]
    assert first_step.line("a", row).count("|") == len(first_step.COLUMNS) + 2


def test_a_library_that_dies_says_why():
    with pytest.raises(MissingError, match="No module named 'no_such'"):
        Process(["python3", "-c", "import no_such"], dict(os.environ))
    with pytest.raises(MissingError, match="interpreter"):
        Process(["no/such/python"], {})


def test_load_of_a_child_that_has_ended():
    assert Load([2**22 + 1]).others() >= 0.0


def test_means_by_class():
    def row(family, ratio):
        directions = {name: {"ratio": ratio} for name in op_models.DIRECTIONS}
        return {"class": family, "directions": directions}

    text = ops.means([row("stem", 2.0), row("1x1", 0.5)])
    assert "| stem | 1 | 2.00 | 2.00 | 2.00 | 2.00 | 2.00 |" in text
    assert "| all | 2 | 1.00 | 1.00 | 1.00 | 1.00 | 0.50 |" in text
