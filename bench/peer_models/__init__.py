"""The same models in each library: one file a library, one function a model.

A file offers `build(task)`, whose result runs one step, and `version()`. A new model is
a function in the `MODELS` of each file, and its input in `task.py`.
"""
