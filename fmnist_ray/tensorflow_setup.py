"""TensorFlow and Keras: whoever needs them imports them from here, where they are set up."""

import os
import sys

# Both are read when TensorFlow is imported: Keras has other backends, and TensorFlow writes its
# start-up notes to standard error.
os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# TensorFlow 2.20 and 2.21 would lay its symbols open to all libraries, and a later import of
# torch's compiler or of torchvision in the process would abort on them. Later releases lack this
# module for that reason (tensorflow issue 124205).
sys.modules.setdefault("tensorflow.python.pywrap_dlopen_global_flags", None)  # type: ignore[arg-type]

import keras  # noqa: E402
import tensorflow as tf  # noqa: E402

__all__ = ["keras", "tf"]
