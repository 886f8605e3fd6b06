"""Callbacks: what is done between the steps and epochs of training."""

from fastconv.callbacks.averages import SwapEMAWeights
from fastconv.callbacks.base import Callback, CallbackList
from fastconv.callbacks.rates import LearningRateScheduler, ReduceLROnPlateau
from fastconv.callbacks.records import CSVLogger, History, LambdaCallback
from fastconv.callbacks.saving import BackupAndRestore, ModelCheckpoint
from fastconv.callbacks.stopping import EarlyStopping, TerminateOnNaN
from fastconv.callbacks.tensorboard import TensorBoard
from fastconv.callbacks.unfreezing import GradualUnfreezing

__all__ = [
    "BackupAndRestore",
    "CSVLogger",
    "Callback",
    "CallbackList",
    "EarlyStopping",
    "GradualUnfreezing",
    "History",
    "LambdaCallback",
    "LearningRateScheduler",
    "ModelCheckpoint",
    "ReduceLROnPlateau",
    "SwapEMAWeights",
    "TensorBoard",
    "TerminateOnNaN",
]
