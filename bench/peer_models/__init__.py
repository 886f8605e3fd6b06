"""The same models in each library, a file a library.

A file offers `build(task)`, whose result runs one step, and `version()`. PyTorch's are
the reference: its `export` writes them as ONNX graphs, which the engines that only
infer run, and of which `tensorflow_models.py` makes Keras layers.
"""
