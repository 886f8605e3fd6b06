"""Models and their training: the loop, what it reports, plans, and keeps in files."""

from fastconv.training.cloning import clone_model
from fastconv.training.model import Model, Sequential
from fastconv.training.persistence import load_model, model_from_json, save_model

__all__ = [
    "Model",
    "Sequential",
    "clone_model",
    "load_model",
    "model_from_json",
    "save_model",
]
