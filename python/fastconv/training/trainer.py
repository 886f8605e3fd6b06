"""compile, fit, evaluate, predict: what a model can do with data."""

from __future__ import annotations

import inspect
import logging
from typing import TYPE_CHECKING, Any

import numpy as np

from fastconv import ops, optimizers, regularizers
from fastconv.callbacks import CallbackList, History
from fastconv.data import tree
from fastconv.data.augmented import for_fit
from fastconv.data.batches import is_arrays
from fastconv.data.split import split_validation
from fastconv.errors import ArgumentError, DataError
from fastconv.graph.ir import Tensor
from fastconv.graph.variable import Variable
from fastconv.io.available import byte_count
from fastconv.layers import context, penalties
from fastconv.layers.base import KerasTensor
from fastconv.layers.compat import renamed
from fastconv.training import auto_batch
from fastconv.training.feeding import ClassWeights, Epochs, feed, narrow
from fastconv.training.fitting import Fit
from fastconv.training.objectives import Objective, Scores
from fastconv.training.progress import Progress, resolve
from fastconv.training.snapshot import aside
from fastconv.training.step_plans import Plans
from fastconv.training.steps import Counted, Steps
from fastconv.tree import flatten, map_structure

logger = logging.getLogger("fastconv")


class Trainer(Steps):
    """The part of `Model` that trains, evaluates and predicts."""

    if TYPE_CHECKING:  # what the other parts of Model bring
        name: str
        _graph: Any
        call: Any
        build_for: Any
        _gather: Any
        _walk: Any
        dtype: str

        @property
        def has_call(self) -> bool:
            """Whether there is more than a `train_step`."""

        @property
        def described(self) -> bool:
            """Whether inputs and outputs are known."""

    epochs_seen = 0  # epochs of training that were done; each is shuffled differently
    compiled_loss: Objective | None = None
    compiled_metrics: Scores | None = None
    stop_training = False
    _optimizer: Any = None
    _plans: Plans | None = None
    _random_state: Variable | None = None
    _output_structure: Any = None
    _names: list[str] | None = None
    _prepared = False
    _epoch = 0  # whose regularizers are in force
    _in_epoch = False  # whether `fit` is between the first and the last step of one
    _penalties: Any = ()
    history: History | None = None

    # Set up ---------------------------------------------------------------------------

    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: Any = None,
        loss_weights: Any = None,
        metrics: Any = None,
        weighted_metrics: Any = None,
        run_eagerly: bool = False,
        steps_per_execution: int = 1,
        jit_compile: Any = "auto",
        auto_scale_loss: bool = True,
        *,
        device: str = "auto",
        memory_limit: int | str | None = None,
    ) -> None:
        """Says how the model is trained.

        Parameters
        ----------
        optimizer: a name, or an `optimizers.Optimizer`; default
            "rmsprop", as in Keras.
        loss: a name, a `losses.Loss`, or a function of (y_true, y_pred); for several
            outputs a list, or a dict by output name. Default none: only to predict.
        loss_weights: numbers that multiply the losses of outputs; list or dict.
        metrics: names, `metrics.Metric` objects or functions of arrays; for several
            outputs a list of lists, or a dict. "accuracy" follows the shapes.
        weighted_metrics: the same, computed with the sample weights.
        device: "auto" (a GPU if there is one, else the CPU), "cpu", "cuda", "cuda:1"
            or "reference" (NumPy, slow).
        memory_limit: what a step may need in all (`memory`), in bytes or as "4GB". Then
            more is computed again in the backward part and not kept; the results stay
            the same, to the byte. Default: no limit, and only what is nearly free.
        auto_scale_loss: whether the optimizer gets into a
            `optimizers.LossScaleOptimizer` if a layer has the policy "mixed_float16";
            default True.
        run_eagerly, steps_per_execution, jit_compile: as in Keras, and without effect:
            every step is one compiled plan.

        Which layers and weights are trained is settled here, as in Keras: a change of
        their ``trainable`` takes effect at the next `compile`.

        Raises
        ------
        UnknownNameError for an unknown optimizer, loss or metric.

        >>> import fastconv as fc
        >>> model = fc.Sequential([fc.Input((2,)), fc.layers.Dense(1)])
        >>> model.compile(fc.optimizers.SGD(0.1), loss="mse")
        >>> model.optimizer
        <SGD learning_rate=0.1>
        """
        ignored = (run_eagerly, steps_per_execution, jit_compile)
        if ignored != (False, 1, "auto"):
            logger.debug("compile: run_eagerly, jit_compile ... have no effect")
        self.optimizer = optimizers.get(optimizer)
        if auto_scale_loss and self._needs_scaled_loss():
            self.optimizer = optimizers.LossScaleOptimizer(self.optimizer)
        self.compiled_loss = None if loss is None else Objective(loss, loss_weights)
        self.compiled_metrics = Scores(self.compiled_loss, metrics, weighted_metrics)
        tested = Scores(self.compiled_loss, metrics, weighted_metrics)
        self._counted, self._test_counted = (
            Counted(self, self.compiled_metrics),
            Counted(self, tested),
        )
        self._plans = Plans(self, device, byte_count(memory_limit, "memory_limit"))
        self._prepared = False
        if self.described and self.compiled_loss is not None:
            self.compiled_loss.of(self.output_names)

    def _needs_scaled_loss(self) -> bool:
        scales = isinstance(self.optimizer, optimizers.LossScaleOptimizer)
        return not scales and any(layer.half == "float16" for layer in self._walk())

    @property
    def optimizer(self) -> Any:
        """What `compile` was given; assigning another takes effect at the next step."""
        return self._optimizer

    @optimizer.setter
    def optimizer(self, value: Any) -> None:
        self._optimizer = value
        if self._plans is not None:
            self._plans.clear()

    @property
    def _seed_and_step(self) -> Variable:
        """Seed and step of the dropout of this model, int64[2]."""
        if self._random_state is None:
            self._random_state = context.random_state()
        return self._random_state

    @property
    def output_names(self) -> list[str]:
        """A name for each output."""
        if self._names is None:
            self._names = self._find_names()
        return self._names

    def _find_names(self) -> list[str]:
        graph = self._graph
        if graph is not None:
            return graph.output_names
        structure = self._output_structure
        if isinstance(structure, dict):
            return list(structure)
        count = len(flatten(structure, KerasTensor))
        return ["output"] if count == 1 else [f"output_{i + 1}" for i in range(count)]

    @property
    def output_specs(self) -> list[KerasTensor]:
        """Shape and dtype of each output."""
        graph = self._graph
        return flatten(
            self._output_structure if graph is None else graph.outputs, KerasTensor
        )

    def reset_plans(self) -> None:
        """Forgets the plans, after layers were added or taken away."""
        self._names, self._prepared = None, False
        if self._plans is not None:
            self._plans.clear()
        if self.compiled_metrics is not None:
            self.compiled_metrics.unbind()
            self._test_counted.scores.unbind()

    # Data -----------------------------------------------------------------------------

    def _prepare(self, x: Any) -> Plans:
        """Builds the model for such data, if it is not built, and gives the plans."""
        if self._prepared:
            assert self._plans is not None
            return self._plans
        if not self.described and self.has_call:
            self.build_for(tree.tree_map(self._spec, x, "x"))
        if self._plans is None:
            self._plans = Plans(self, "auto")
        self._gather()
        self._prepared = True
        self._penalties = penalties.starting_late(self)
        self._set_epoch(self._epoch)
        return self._plans

    def _spec(self, array: Any, name: str) -> KerasTensor:
        return KerasTensor((None, *array.shape[1:]), self.dtype, name)

    def _pack(self, x: Any, y: Any, w: Any) -> tuple[Any, list[Any], list[Any]]:
        """One batch with targets and weights in the order of the outputs."""
        if y is None:
            raise ArgumentError(f"model {self.name!r}: expected targets y beside x")
        return x, *self._aligned(y, w)

    def _forward(self, x: Any) -> Any:
        """The outputs for tensors, inside a traced function; without a label."""
        call = self.call
        if "training" in inspect.signature(call).parameters:
            return call(x, training=context.is_training())
        return call(x)

    def _ready(self, x: Any) -> Any:
        """The tensors of data in the dtype that a class of the user expects."""
        return x if self._graph else map_structure(x, _is_tensor, self._cast)

    def _cast(self, tensor: Tensor) -> Tensor:
        return tensor if tensor.dtype == self.dtype else ops.cast(tensor, self.dtype)

    def _need_loss(self) -> None:
        if self.optimizer is None:
            raise ArgumentError(
                f"model {self.name!r} has no loss yet: call compile(optimizer, loss) "
                "first"
            )

    def train_batch(
        self, x: Any, y: Any, w: Any, weigh: Any = None, whole: bool = False
    ) -> None:
        """One step: the weights change, and its results are counted.

        weigh: `feeding.ClassWeights`, or None; whole: the step may be done in parts,
        if it does not fit into memory.
        """
        plans = self._prepare(x)
        if weigh is not None and y is not None:
            w = weigh.times(self, y, w)
        steps = plans.train_all if whole else plans.train_one
        for result, *data in steps(x, y, w):
            self._counted.update(result, *data)

    def test_batch(self, x: Any, y: Any, w: Any) -> None:
        """The results of one batch are counted; nothing else changes."""
        plans = self._prepare(x)
        self._test_counted.update(plans.test(x, y, w), x, y, w)

    def _set_epoch(self, epoch: int) -> None:
        """Switches on the regularizers whose ``start_epoch`` has come."""
        self._epoch = epoch
        if self._prepared:  # else `_prepare` does it
            regularizers.set_epoch(self._penalties, epoch)

    @property
    def _last_epoch(self) -> int:
        """The epoch that was trained last, whose penalties an evaluation counts."""
        return max(self.epochs_seen - 1, 0)

    def warn_of_frozen(self) -> None:
        """Says, once, that ``trainable`` was changed since `compile`."""
        if self._plans is not None:
            self._plans.trained.warn(self)

    # One batch ------------------------------------------------------------------------

    def train_on_batch(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        class_weight: Any = None,
        return_dict: bool = False,
    ) -> Any:
        """One training step on one batch.

        Returns
        -------
        The loss, or a list of the loss and metrics, or with ``return_dict`` a dict: of
        this batch only.
        """
        self._need_loss()
        x, y, w = _on_batch(x, y, sample_weight)
        self.warn_of_frozen()
        self._set_epoch(self.epochs_seen)
        self._counted.reset()
        weigh = None if class_weight is None else ClassWeights(class_weight)
        self.train_batch(x, y, w, weigh)
        return _flat(self._counted.logs(), return_dict)

    def test_on_batch(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        return_dict: bool = False,
    ) -> Any:
        """Loss and metrics of one batch; as `train_on_batch`, but nothing changes."""
        self._need_loss()
        x, y, w = _on_batch(x, y, sample_weight)
        with aside(self):
            self._set_epoch(self._last_epoch)
            self._test_counted.reset()
            self.test_batch(x, y, w)
            logs = self._test_counted.logs()
        return _flat(logs, return_dict)

    def predict_on_batch(self, x: Any) -> Any:
        """The outputs for one batch, as arrays."""
        if type(x) is not np.ndarray or x.dtype.char != "f":  # quicker
            x = narrow(tree.to_arrays(x, "x"))
        return self._prepare(x).predict(x)

    # Many batches ---------------------------------------------------------------------

    @renamed(nb_epoch="epochs")
    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | str | None = None,
        epochs: int = 1,
        verbose: Any = "auto",
        callbacks: Any = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool = True,
        class_weight: Any = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        validation_freq: Any = 1,
        *,
        augment: Any = None,
        sanity: bool | None = None,
        time_limit: Any = None,
        fast_dev_run: bool | int = False,
        resume: Any = None,
    ) -> History:
        """Trains the model.

        Parameters
        ----------
        x: an array (samples, ...), a list or dict of them, or any iterable of batches
            (x, y) or (x, y, sample_weight).
        y: targets, for arrays.
        batch_size: samples in a step; None is 32, "all" takes all samples at once (the
            exact gradient, summed over parts where one plan does not fit into memory),
            "auto" as many as throughput needs and memory allows, a power of two up to
            1024, which the log tells at level INFO (`training.auto_batch.choose`).
        epochs: the number of the last epoch; each sees all samples once.
        verbose: 0 nothing, 1 a bar, 2 one line an epoch, "auto".
        callbacks: a list of `callbacks.Callback`.
        validation_split: share of the samples, the last ones, kept for validation.
        validation_data: (x, y), (x, y, sample_weight), or an iterable of batches.
        shuffle: whether each epoch has an order of its own, from the seed and the
            number of epochs that the model has seen. Ready batches keep the order that
            they come in; only an indexable source of them (`PyDataset`) is reordered.
        class_weight: dict from class number to a factor of the loss of its samples, or
            of its places where y has a class for each; for a model with one output. It
            multiplies ``sample_weight``.
        sample_weight: factors of the samples' loss.
        initial_epoch: the first epoch's number; to go on with a training.
        steps_per_epoch: steps of an epoch; default all batches.
        validation_steps, validation_batch_size: the same for validation.
        validation_freq: validate every so many epochs, or a list of epochs (from 1).
        augment: random changes of the training images: layers as for
            `fastconv.data.augment`, such as ``[layers.RandomFlip("horizontal")]``.
        sanity: whether data, loss and model are checked before the first epoch of a
            fresh model (`training.sanity.check`), with warnings in the log; default
            yes, unless the environment says ``FASTCONV_SANITY=0``.
        time_limit: seconds for everything, instead of ``epochs``, which is not read.
            The learning rate falls to 0 as a cosine of the share of the time that is
            used. So the steps depend on the machine's speed; ``History.time_limit``
            holds them, and given as ``time_limit`` it repeats them to the byte.
        fast_dev_run: True or a number n, for a trial of the code: 1 or n batches of
            training and of validation, one epoch, all callbacks but those that write
            files; ``resume`` and ``time_limit`` are ignored. The weights do change, but
            it does not count as an epoch.
        resume: a folder. Checkpoints of the training are written there, for less than
            1 % of its time; where there is one, the training goes on from it. A process
            that is killed at any moment, and started again, ends with the same bytes as
            one that is not: weights, optimizer, random numbers, order of the samples,
            metrics, history, and the state of callbacks. Data of your own must give the
            same batches again. It is `callbacks.BackupAndRestore` with
            ``save_freq="auto"``, two checkpoints, and none deleted.

        Returns
        -------
        A `callbacks.History`. After Ctrl-C, too: the step in progress ends, and
        training stops there with everything consistent; a second Ctrl-C raises.

        Raises
        ------
        ArgumentError before `compile`, or for arguments that do not fit; ShapeError for
        data that do not fit the model; DataError for no samples, NaN, labels out of
        range; OutOfMemoryError if the plan does not fit into memory. With ``resume``,
        ArgumentError for another model, optimizer or data than before; FormatError if
        both checkpoints are damaged; OSError if one cannot be written.

        >>> import fastconv as fc
        >>> import numpy as np
        >>> model = fc.Sequential([fc.Input((1,)), fc.layers.Dense(1)])
        >>> model.compile(fc.optimizers.SGD(0.1), loss="mse")
        >>> x = np.linspace(-1, 1, 64)[:, None]
        >>> history = model.fit(x, 3 * x, epochs=100, verbose=0)
        >>> bool(history.history["loss"][-1] < 1e-3)
        True
        """
        self._need_loss()
        validation = None
        if validation_split and validation_data is None:
            (x, y, sample_weight), validation_data = split_validation(
                x, y, sample_weight, validation_split
            )
        if isinstance(batch_size, str) and batch_size == "auto":
            batch_size = auto_batch.choose(self, x, y, sample_weight)
        if validation_data is not None:
            size = validation_batch_size or batch_size
            validation = Epochs(_validation(validation_data, size), validation_steps)
        seed = int(self._seed_and_step.value[0])
        data = feed(x, y, sample_weight, batch_size, shuffle, seed)
        whole = isinstance(batch_size, str) and batch_size == "all"
        if augment is not None:
            data = for_fit(data, augment, seed)
        fit = Fit(
            self, Epochs(data, steps_per_epoch), validation, class_weight,
            validation_freq, sanity, time_limit, whole,
        )  # fmt: skip
        if fast_dev_run:
            return fit.dev_run(initial_epoch, fast_dev_run, verbose, callbacks or [])
        return fit.run(initial_epoch, epochs, verbose, callbacks or [], resume)

    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | str | None = None,
        verbose: Any = "auto",
        sample_weight: Any = None,
        steps: int | None = None,
        callbacks: Any = None,
        return_dict: bool = False,
    ) -> Any:
        """Loss and metrics over data, in inference mode; arguments as `fit`.

        Returns
        -------
        The loss, or a list of the loss and metrics, or with ``return_dict`` a dict.

        >>> import fastconv as fc
        >>> import numpy as np
        >>> model = fc.Sequential([fc.Input((1,)), fc.layers.Dense(1)])
        >>> model.compile(loss="mse")
        >>> round(model.evaluate(np.zeros((8, 1)), np.ones((8, 1)), verbose=0), 6)
        1.0
        """
        self._need_loss()
        data = Epochs(feed(x, y, sample_weight, batch_size), steps)
        hooks = CallbackList(callbacks or [], self, steps=data.length, verbose=verbose)
        logs = self.evaluate_epoch(data, hooks, verbose)
        return _flat(logs, return_dict)

    def evaluate_epoch(
        self, data: Epochs, hooks: CallbackList, verbose: Any
    ) -> dict[str, float]:
        """Loss and metrics over the batches of one epoch."""
        progress = Progress(verbose, "Evaluate", data.length)
        with aside(self):
            return self._evaluate(data, hooks, progress)

    def _evaluate(
        self, data: Epochs, hooks: CallbackList, progress: Progress
    ) -> dict[str, float]:
        self._set_epoch(self._last_epoch)
        scores = self._test_counted
        scores.reset()
        hooks.call("on_test_begin")
        for step, batch in enumerate(data):
            hooks.call("on_test_batch_begin", step)
            self.test_batch(*batch)
            if hooks.listens("on_test_batch_end"):
                hooks.call("on_test_batch_end", step, scores.logs())
            progress.step(scores.logs)
        logs = scores.logs()
        hooks.call("on_test_end", logs)
        progress.end(logs)
        return logs

    def predict(
        self,
        x: Any,
        batch_size: int | str | None = None,
        verbose: Any = "auto",
        steps: int | None = None,
        callbacks: Any = None,
    ) -> Any:
        """The outputs for data, in inference mode.

        Parameters
        ----------
        x: an array, a list or dict of arrays, or an iterable of batches.
        batch_size, verbose, steps, callbacks: as `fit`.

        Returns
        -------
        An array (samples, ...), or the structure of the model's outputs.

        >>> import fastconv as fc
        >>> import numpy as np
        >>> model = fc.Sequential([fc.Input((2,)), fc.layers.Dense(3)])
        >>> model.predict(np.zeros((5, 2)), verbose=0).shape
        (5, 3)
        """
        if isinstance(x, np.ndarray) and len(x) == 0:
            return self.predict_on_batch(x)
        data = Epochs(feed(x, batch_size=batch_size), steps)
        hooks = CallbackList(callbacks or [], self, steps=data.length, verbose=verbose)
        if verbose == "auto" and resolve(verbose) == 2:
            verbose = 0  # a line that says nothing
        progress = Progress(verbose, "Predict", data.length)
        parts = []
        with aside(self):
            hooks.call("on_predict_begin")
            for step, (batch, _, _) in enumerate(data):
                hooks.call("on_predict_batch_begin", step)
                parts.append(self._prepare(batch).predict(batch))
                if hooks.listens("on_predict_batch_end"):
                    hooks.call("on_predict_batch_end", step, {"outputs": parts[-1]})
                progress.step(dict)
            hooks.call("on_predict_end")
        progress.end({})
        if not parts:
            raise DataError("predict: no batches")
        return _joined(parts)


def _is_tensor(value: Any) -> bool:
    return isinstance(value, Tensor)


def _on_batch(x: Any, y: Any, w: Any) -> tuple[Any, Any, Any]:
    parts = tuple(tree.to_arrays(v, n) for v, n in ((x, "x"), (y, "y"), (w, "w")))
    tree.common_length(parts, "batch")
    return narrow(parts[0]), narrow(parts[1]), parts[2]


def _validation(data: Any, batch_size: Any) -> Any:
    if isinstance(data, tuple) and len(data) in (2, 3):
        x, y, *w = data
        return feed(x, y, w[0] if w else None, batch_size)
    return feed(data, batch_size=batch_size if is_arrays(data) else None)


def _flat(logs: dict[str, float], return_dict: bool) -> Any:
    if return_dict:
        return logs
    values = list(logs.values())
    return values[0] if len(values) == 1 else values


def _joined(parts: list[Any]) -> Any:
    """The results of all batches, one after the other, in their structure."""
    first = parts[0]
    if isinstance(first, dict):
        return {k: _joined([p[k] for p in parts]) for k in first}
    if isinstance(first, list | tuple):
        return type(first)(_joined([p[i] for p in parts]) for i in range(len(first)))
    return first if len(parts) == 1 else np.concatenate(parts)
