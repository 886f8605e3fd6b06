"""The models in fastconv."""

import fastconv
from peer_models.task import MOMENTUM, RATE, Step, Task

MODELS = {"lenet": lambda: fastconv.models.LeNet5(variant="modern")}


def version() -> str:
    return fastconv.__version__


def build(task: Task) -> Step:
    if task.dtype == "bfloat16":
        raise NotImplementedError("mixed_bfloat16 is not offered yet")
    model = MODELS[task.model]()
    model.compile(
        optimizer=fastconv.optimizers.SGD(RATE, momentum=MOMENTUM),
        loss="sparse_categorical_crossentropy",
    )
    x, y = task.images(), task.labels()
    if task.mode == "train":
        return lambda: model.train_on_batch(x, y)
    return lambda: model.predict_on_batch(x)
