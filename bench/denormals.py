"""What denormal inputs cost: steps on images near 1e-40 against steps on ordinary ones.

    python bench/denormals.py
    python bench/denormals.py train/resnet18/b8 --rounds 9

Both kinds of images go through the same plan in turn; the ratio is the median over
rounds of denormal / ordinary.
"""

import argparse
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import numpy as np
from peer_models import fastconv_models
from peer_models.task import Task
from peer_worker import timed

SMALL = np.float32(1e-40)


def ratio(task: Task, rounds: int, seconds: float) -> float:
    """Of the times of a step, denormal images to ordinary ones."""
    model = fastconv_models.compiled(task)
    images, labels = task.images(), task.labels()

    def round_of(x: np.ndarray) -> float:
        if task.mode == "train":
            return statistics.median(
                timed(lambda: model.train_on_batch(x, labels), seconds)
            )
        return statistics.median(timed(lambda: model.predict_on_batch(x), seconds))

    round_of(images)
    found = [round_of(images * SMALL) / round_of(images) for _ in range(rounds)]
    return statistics.median(found)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    rows = ["train/lenet/b64", "infer/lenet/b64", "train/resnet18/b8"]
    parser.add_argument("rows", nargs="*", default=rows, help="MODE/MODEL/bBATCH")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.4, help="of a half round")
    chosen = parser.parse_args()
    print("| row | denormal / ordinary |\n|---|---:|")
    for row in chosen.rows:
        mode, model, batch = row.split("/")
        task = Task(model, int(batch.removeprefix("b")), mode)
        print(f"| {row} | {ratio(task, chosen.rounds, chosen.seconds):.2f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
