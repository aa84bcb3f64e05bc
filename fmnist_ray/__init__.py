"""Distributed experiments on image classifiers with Ray, on Fashion-MNIST.

Each module named after a verb (`data`, `train`, `tune`, `evaluate`, `doctor`) is a command,
`python -m fmnist_ray.<verb>` or `fmnist <verb>`, and holds the function of the same name for
use from Python. Importing this package imports none of them, and neither torch nor Ray.
"""

__version__ = "0.1.0"
