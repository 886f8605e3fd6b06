"""``fastconv compare``: a table, the same as CSV, and a chart."""

import csv
import json
import xml.etree.ElementTree as ET

from fastconv import cli, models


def compare(capsys, *argv):
    code = cli.main(["compare", *argv, "--seconds", "0.01", "--json"])
    lines = capsys.readouterr().out.splitlines()
    return code, lines, json.loads(lines[-1]) if code == 0 else None


def test_a_comparison(tmp_path, capsys):
    out = tmp_path / "found"
    names = ["LeNet-5", "resnet20", "lenet5", "mlp"]
    code, lines, found = compare(capsys, *names, "--batch-size", "2", "--out", str(out))
    assert code == 0
    assert [row["network"] for row in found["networks"]] == [
        "LeNet5",
        "ResNet20",
        "MLP",
    ]
    assert [line.split()[0] for line in lines[1:4]] == ["LeNet5", "ResNet20", "MLP"]
    resnet = found["networks"][1]
    facts = models.facts("resnet20")
    assert resnet["parameters"] == resnet["paper_parameters"] == facts.parameters
    assert round(resnet["multiply_adds"], 3) == facts.multiply_adds
    assert resnet["top1"] == facts.top1
    model = models.ResNet20()
    model.compile("sgd", "sparse_categorical_crossentropy")
    assert resnet["training_bytes"] == model.memory(2)["total"]
    assert resnet["inference_bytes"] == model.memory(2, training=False)["total"]
    assert resnet["inference_images_per_second"] > 0
    assert resnet["training_images_per_second"] > 0
    with (out / "table.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["network"] for row in rows] == ["LeNet5", "ResNet20", "MLP"]
    assert (rows[1]["top1"], rows[2]["top1"]) == ("91.25", "")
    text = "".join(ET.parse(out / "chart.svg").getroot().itertext())
    assert "ResNet20" in text
    assert "MLP" not in text  # no published accuracy


def test_without_training_and_without_accuracies(tmp_path, capsys):
    code, _, found = compare(capsys, "mlp", "--no-training", "--out", str(tmp_path))
    assert code == 0
    assert found["networks"][0]["training_images_per_second"] is None
    assert [p.name for p in tmp_path.iterdir()] == ["table.csv"]


def test_an_unknown_network_before_anything_is_measured(tmp_path, capsys):
    code, *_ = compare(capsys, "mlp", "resnet51", "--out", str(tmp_path / "found"))
    assert code == 2
    assert not (tmp_path / "found").exists()


def test_what_does_not_fit_is_left_out(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("fastconv.cli.compare.available_bytes", lambda: 10)
    code, lines, found = compare(capsys, "resnet20", "--out", str(tmp_path))
    assert code == 0
    assert found["networks"][0]["inference_images_per_second"] is None
    assert lines[1].split()[-1] == "-"
