"""Files of models: one safetensors file each, data only."""

from fastconv.io.checkpoint import load_model, model_from_json, save_model

__all__ = ["load_model", "model_from_json", "save_model"]
