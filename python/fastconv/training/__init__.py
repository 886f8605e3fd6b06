"""Models and their training: the loop, what it reports, plans, and keeps in files."""

from fastconv.training.model import Model, Sequential
from fastconv.training.persistence import load_model, model_from_json, save_model

__all__ = ["Model", "Sequential", "load_model", "model_from_json", "save_model"]
