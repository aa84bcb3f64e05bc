"""The model that comes with the package, for labelling without training first.

A CNN of 121,930 weights, the first of three that a search of 24 trials (`fmnist tune`) retrained on
the 60,000 training images with its best settings: 91.76 % of the 10,000 test images right.
`model.json` has its architecture, `model.safetensors` its weights.
"""

from pathlib import Path

PRETRAINED_FOLDER = Path(__file__).parent
"""Holds `model.json` and `model.safetensors`, as a record does."""
