"""Plain Keras 3 on TensorFlow: `model.compile`, `model.fit`."""

from collections.abc import Callable

import numpy as np

from fmnist_ray.dataset.preparation import TRAIN_MEAN, TRAIN_STD


def plain_model(model: str, activation: str = "relu", dropout: float = 0.25):  # type: ignore[no-untyped-def]
    """The CNN or DNN, as Keras' examples would write it."""
    from fmnist_ray.tensorflow_setup import keras

    layers = keras.layers
    if model == "dnn":
        hidden = [layers.Flatten()]
        hidden += [layers.Dense(units, activation=activation) for units in (128, 64)]
    else:
        hidden = [
            layers.Conv2D(32, 3, activation=activation),
            layers.MaxPooling2D(),
            layers.Dropout(dropout),
            layers.Conv2D(64, 3, activation=activation),
            layers.MaxPooling2D(),
            layers.Dropout(dropout),
            layers.Flatten(),
            layers.Dense(64, activation=activation),
            layers.Dropout(dropout),
        ]
    return keras.Sequential([keras.Input((28, 28, 1)), *hidden, layers.Dense(10)])


def normalised(images: np.ndarray) -> np.ndarray:
    """uint8 (n, 28, 28) as float32 (n, 28, 28, 1)."""
    scaled: np.ndarray = (images.astype(np.float32) / 255 - TRAIN_MEAN) / TRAIN_STD
    return scaled[..., None]


def set_threads(threads: int) -> None:
    """Before TensorFlow does anything; it cannot be changed later."""
    from fmnist_ray.tensorflow_setup import tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)


def compiled(model, optimizer: str, learning_rate: float):  # type: ignore[no-untyped-def]
    """Ready for `fit`."""
    from fmnist_ray.tensorflow_setup import keras

    optimizers = keras.optimizers
    chosen = (
        optimizers.SGD(learning_rate, momentum=0.9, nesterov=True)
        if optimizer == "sgd"
        else optimizers.Adam(learning_rate)
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(chosen, loss, metrics=["accuracy"], jit_compile=False)
    return model


def epochs(
    model: str, batch: int, images: np.ndarray, labels: np.ndarray, threads: int
) -> Callable[[], None]:
    """What trains one epoch more, with Adam at its default rate."""
    set_threads(threads)
    network = compiled(plain_model(model), "adam", 0.001)
    inputs, answers = normalised(images), labels.astype(np.int32)
    return lambda: network.fit(inputs, answers, batch_size=batch, verbose=0) and None
