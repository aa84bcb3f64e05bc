"""Keras Tuner's Hyperband over `model.fit`: one trial at a time, on two threads.

It draws its own configurations from the same space, as many as Hyperband's brackets have, and stops
after as many as were asked for.
"""

import os
import time
from typing import Any

os.environ["KERAS_BACKEND"] = "tensorflow"

from benchmarks.contenders.task import (
    ACTIVATIONS,
    BATCHES,
    OPTIMIZERS,
    RATES,
    REDUCTION,
    Task,
)


def main() -> None:
    """Searches."""
    task = Task.asked()
    from benchmarks.contenders import keras_fit

    keras_fit.set_threads(2)
    import keras_tuner

    from fmnist_ray.tensorflow_setup import keras

    class Search(keras_tuner.HyperModel):  # type: ignore[misc]
        def build(self, hp: Any) -> Any:
            model = keras_fit.plain_model("cnn", hp.Choice("activation", list(ACTIVATIONS)))
            rate = hp.Float("learning_rate", *RATES, sampling="log")
            return keras_fit.compiled(model, hp.Choice("optimizer", list(OPTIMIZERS)), rate)

        def fit(self, hp: Any, model: Any, *args: Any, **kwargs: Any) -> Any:
            batch = hp.Choice("batch_size", list(BATCHES))
            return model.fit(*args, batch_size=batch, **kwargs)

    class Tell(keras.callbacks.Callback):  # type: ignore[misc]
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.begun = time.perf_counter()

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            seconds = time.perf_counter() - self.begun
            task.tell(str(id(self.model)), epoch + 1, logs["val_accuracy"], seconds)

    images, labels, held_out, answers = task.data()
    tuner = keras_tuner.Hyperband(
        Search(),
        objective="val_accuracy",
        max_epochs=task.max_epochs,
        factor=REDUCTION,
        seed=task.seed,
        directory=str(task.folder),
    )
    tuner.oracle.max_trials = task.trials
    tuner.search(
        keras_fit.normalised(images),
        labels,
        validation_data=(keras_fit.normalised(held_out), answers),
        callbacks=[Tell()],
        verbose=0,
    )


if __name__ == "__main__":
    main()
