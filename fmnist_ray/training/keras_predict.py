"""Logits and probabilities of a Keras model."""

import numpy as np

from fmnist_ray.dataset.preparation import TRAIN_MEAN, TRAIN_STD
from fmnist_ray.models.layers import CLASSES, IMAGE_SIZE
from fmnist_ray.tensorflow_setup import keras, tf

_BATCH = 250


def logits_of(model: keras.Model, pixels: tf.Tensor, training: bool) -> tf.Tensor:
    """Logits, float32 (n, 10), of uint8 images (n, 28, 28), which are normalised here."""
    inputs = (tf.cast(pixels, tf.float32) - TRAIN_MEAN * 255) / (TRAIN_STD * 255)
    return tf.cast(model(inputs[..., tf.newaxis], training=training), tf.float32)


def keras_predict(model: keras.Model, images: np.ndarray) -> np.ndarray:
    """Class probabilities, float32 (n, 10), of uint8 images (n, 28, 28)."""

    def probabilities(pixels: tf.Tensor) -> tf.Tensor:
        return tf.nn.softmax(logits_of(model, pixels, training=False))

    signature = [tf.TensorSpec((None, IMAGE_SIZE, IMAGE_SIZE), tf.uint8)]
    forward = tf.function(probabilities, input_signature=signature)
    parts = [forward(images[at : at + _BATCH]).numpy() for at in range(0, len(images), _BATCH)]
    return np.concatenate(parts) if parts else np.zeros((0, CLASSES), np.float32)
