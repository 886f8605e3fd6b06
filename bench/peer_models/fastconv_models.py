"""The models in fastconv, those of its zoo."""

import fastconv
from fastconv import _core
from fastconv.training import plan_report
from peer_models.task import MODELS, MOMENTUM, RATE, UNET_MAPS, Step, Task

PEAK = 0.5  # seconds of its measurement
_MODELS = {
    "lenet": ("LeNet5", {}),
    "smallnet": ("SmallNet", {}),
    "alexnet": ("AlexNetOneTower", {"weights": None}),
    "squeezenet": ("SqueezeNet1_1", {"weights": None}),
    **{
        name: ("UNet", {"input_shape": MODELS[name][0], "maps": maps})
        for name, maps in UNET_MAPS.items()
    },
}


def version() -> str:
    return fastconv.__version__


def build(task: Task) -> Step:
    model = compiled(task)
    x, y = task.images(), task.labels()
    if task.mode == "train":
        return lambda: model.train_on_batch(x, y)
    return lambda: model.predict_on_batch(x)


def facts(task: Task) -> dict[str, object]:
    """Work of a step as its plan knows it, and what the machine reaches just now."""
    steps = plan_report.plan(compiled(task), task.batch, task.mode == "train").report()
    return {
        "flops": sum(step.flops for step in steps),
        "bytes": sum(step.bytes for step in steps),
        "isa": _core.active_isa(),
        "peak": _core.measure_peak(PEAK),
    }


def model_of(task: Task) -> fastconv.Model:
    """The network, not compiled yet."""
    name, options = _MODELS.get(task.model, (task.model, {"weights": None}))
    return fastconv.models.get(name)(**options)


def compiled(task: Task) -> fastconv.Model:
    if task.dtype == "bfloat16":
        fastconv.mixed_precision.set_global_policy("mixed_bfloat16")
    model = model_of(task)
    if task.dtype == "int8" and task.variant != "float32":
        model = fastconv.quantize(model, task.images(), "minmax")
    elif task.mode != "train":  # constant weights, as peers for inference have them
        model = fastconv.freeze(model)
    model.compile(
        optimizer=fastconv.optimizers.SGD(RATE, momentum=MOMENTUM),
        loss="sparse_categorical_crossentropy",
    )
    return model
