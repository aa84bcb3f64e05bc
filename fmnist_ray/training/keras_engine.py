"""Training in TensorFlow, with Keras' layers and optimizers.

An epoch is one graph over a `tf.data` pipeline, which slices batches from the shared arrays: in
order, changes to images and learning rates it is the course that the torch engine takes.
"""

import logging
import math

import numpy as np

from fmnist_ray.dataset.augmentation import augment_array
from fmnist_ray.errors import DivergedError
from fmnist_ray.machine import cpu_has_bf16
from fmnist_ray.models.config import Weights
from fmnist_ray.models.keras_models import (
    build_keras_model,
    load_torch_weights,
    torch_weights,
)
from fmnist_ray.models.layers import CLASSES
from fmnist_ray.tensorflow_setup import keras, tf
from fmnist_ray.training.config import FitConfig
from fmnist_ray.training.contract import Device, FitData
from fmnist_ray.training.keras_predict import logits_of
from fmnist_ray.training.steps import AUGMENT, DROPOUT, epoch_steps

_VALIDATION_BATCH = 500
_ALIGNMENT = 64  # bytes; TensorFlow's kernels rely on it

logger = logging.getLogger(__name__)


class KerasEngine:
    """A model that trains in TensorFlow; see `training.loop.Engine`.

    Several workers, each with its `rank`, train one model. `TF_CONFIG` must name them, as Ray
    Train's `TensorflowTrainer` does, and TensorFlow must be unused in their processes.
    """

    def __init__(self, config: FitConfig, data: FitData, seed: int, device: Device) -> None:
        self.config, self.seed, self.device = config, seed, device
        _prepare(device.threads)
        # What Keras keeps of models that are gone; a process may train hundreds.
        keras.backend.clear_session()
        # `model.fit` fails with several workers (keras issue 20585), and so would variables
        # mirrored between them. Here each worker has variables of its own, which stay equal since
        # they take equal steps; the strategy only sums gradients.
        self.strategy = tf.distribute.MultiWorkerMirroredStrategy() if device.workers > 1 else None
        self.images, self.labels = _shared(data.images), tf.constant(data.labels, tf.int32)
        self.train = np.asarray(data.train, np.int64)
        self.model = build_keras_model(config.architecture, seed, _policy(device))
        self.variables = self.model.trainable_variables
        self.optimizer = build_keras_optimizer(config)
        self.optimizer.build(self.variables)
        self.dropouts = [
            layer for layer in self.model.layers if isinstance(layer, keras.layers.Dropout)
        ]
        self.augmenting = np.random.default_rng(0)
        self._train = tf.function(self._train_graph)
        self._predict = tf.function(
            self._predict_graph, input_signature=[tf.TensorSpec((None,), tf.int64)]
        )

    def train_epoch(self, epoch: int) -> tuple[float, float]:
        config, device = self.config, self.device
        streams = np.random.SeedSequence([self.seed, epoch, DROPOUT, device.rank])
        for dropout, child in zip(self.dropouts, streams.spawn(len(self.dropouts)), strict=True):
            if dropout.rate:
                dropout.seed_generator.state.assign(child.generate_state(2))
        self.augmenting = np.random.default_rng([self.seed, epoch, AUGMENT, device.rank])
        steps = epoch_steps(config, self.train, self.seed, epoch, device.workers)
        rates = config.learning_rate * np.array(steps.factors)
        total_loss, correct = self._train(
            tf.constant(steps.order, tf.int64),
            tf.constant(steps.bounds, tf.int64),
            tf.constant(rates, tf.float32),
        )
        loss, right = float(total_loss), int(correct)
        if not math.isfinite(loss):
            raise DivergedError(
                f"the training loss became {loss} in epoch {epoch} "
                f"({config.optimizer}, learning rate {config.learning_rate:g})"
            )
        return loss / len(self.train), right / len(self.train)

    def probabilities(self, indices: np.ndarray) -> np.ndarray:
        """Of the images at `indices`, (n, 10), each worker computing its share."""
        device = self.device
        bounds = np.linspace(0, len(indices), device.workers + 1).astype(int)
        first, last = bounds[device.rank], bounds[device.rank + 1]
        result = np.zeros((len(indices), CLASSES), np.float32)
        for start in range(first, last, _VALIDATION_BATCH):
            stop = min(start + _VALIDATION_BATCH, last)
            result[start:stop] = self._predict(tf.constant(indices[start:stop], tf.int64)).numpy()
        if self.strategy is not None:
            result = self._summed([tf.constant(result)])[0].numpy()
        return result

    def weights(self) -> Weights:
        return torch_weights(self.config.architecture, self.model)

    def load_weights(self, weights: Weights) -> None:
        load_torch_weights(self.config.architecture, self.model, weights)

    def optimizer_state(self) -> Weights:
        return {
            f"{index}/{each.name}": np.array(each.numpy())
            for index, each in enumerate(self.optimizer.variables)
        }

    def load_optimizer_state(self, state: Weights) -> None:
        # The learning rate is among these variables, and is set before each step anyway.
        for each, value in zip(self.optimizer.variables, _in_order(state), strict=True):
            each.assign(value)

    def _batches(self, order: tf.Tensor, bounds: tf.Tensor, rates: tf.Tensor) -> tf.data.Dataset:
        """What each step takes: pixels, labels, learning rate, and the whole batch's size."""
        config, device = self.config, self.device

        def augmented(pixels: np.ndarray) -> np.ndarray:
            return augment_array(pixels, config.augmentation, self.augmenting)

        def batch(bound: tf.Tensor, rate: tf.Tensor) -> tuple[tf.Tensor, ...]:
            # Each worker takes every n-th image of the batch, so that the step is over one batch
            # whatever their number.
            mine = order[bound[0] + device.rank : bound[1] : device.workers]
            pixels, labels = tf.gather(self.images, mine), tf.gather(self.labels, mine)
            if config.augmentation.any:
                shape = pixels.shape
                pixels = tf.numpy_function(augmented, [pixels], tf.uint8)
                pixels.set_shape(shape)
            return pixels, labels, rate, tf.cast(bound[1] - bound[0], tf.float32)

        dataset = tf.data.Dataset.from_tensor_slices((bounds, rates)).map(batch).prefetch(1)
        options = tf.data.Options()
        options.autotune.enabled = False
        options.threading.private_threadpool_size = 1
        return dataset.with_options(options)

    def _train_graph(
        self, order: tf.Tensor, bounds: tf.Tensor, rates: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """An epoch. The pipeline is part of the graph, so that it is built once for all epochs."""
        total_loss, correct = tf.zeros((), tf.float64), tf.zeros((), tf.float64)
        for pixels, labels, rate, size in self._batches(order, bounds, rates):
            loss, right = self._step(pixels, labels, rate, size)
            total_loss += tf.cast(loss, tf.float64)
            correct += tf.cast(right, tf.float64)
        if self.strategy is not None:
            total_loss, correct = self._summed([total_loss, correct])
        return total_loss, correct

    def _step(
        self, pixels: tf.Tensor, labels: tf.Tensor, rate: tf.Tensor, size: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        smoothing = self.config.label_smoothing
        with tf.GradientTape() as tape:
            logits = logits_of(self.model, pixels, training=True)
            targets = tf.one_hot(labels, CLASSES) * (1 - smoothing) + smoothing / CLASSES
            loss = tf.reduce_sum(tf.nn.softmax_cross_entropy_with_logits(targets, logits))
            mean = loss / size
        gradients = tape.gradient(mean, self.variables)
        if self.strategy is not None:
            gradients = self._summed(gradients)
        decay = self.config.weight_decay
        if decay and self.config.optimizer != "adamw":
            gradients = [g + decay * v for g, v in zip(gradients, self.variables, strict=True)]
        self.optimizer.learning_rate.assign(rate)
        self.optimizer.apply(gradients, self.variables)
        predicted = tf.argmax(logits, 1, output_type=tf.int32)
        return loss, tf.math.count_nonzero(predicted == labels)

    def _predict_graph(self, indices: tf.Tensor) -> tf.Tensor:
        with tf.device("cpu"):  # where all images are
            pixels = tf.gather(self.images, indices)
        return tf.nn.softmax(logits_of(self.model, pixels, training=False))

    def _summed(self, values: list[tf.Tensor]) -> list[tf.Tensor]:
        """Each tensor's sum over the workers, in all of them."""

        def all_reduce(given: list[tf.Tensor]) -> list[tf.Tensor]:
            # Copies, since the strategy asks the tensors which device they are on, and only what
            # is made here has one.
            copies = [tf.identity(each) for each in given]
            replica = tf.distribute.get_replica_context()
            summed: list[tf.Tensor] = replica.all_reduce(tf.distribute.ReduceOp.SUM, copies)
            return summed

        assert self.strategy is not None
        result: list[tf.Tensor] = self.strategy.run(all_reduce, args=(values,))
        return result


def build_keras_optimizer(config: FitConfig) -> keras.optimizers.Optimizer:
    """The configured optimizer, with torch's constants where Keras has others.

    Only its NAdam stays another: it lets the momentum grow faster. An L2 penalty is added to the gradients by whoever takes the step, since Keras decouples the
    weight decay of all optimizers from them.
    """
    rate, optimizers = config.learning_rate, keras.optimizers
    match config.optimizer:
        case "sgd":
            return optimizers.SGD(rate, momentum=config.momentum, nesterov=config.momentum > 0)
        case "adam":
            return optimizers.Adam(rate, epsilon=1e-8)
        case "adamw":
            return optimizers.AdamW(rate, weight_decay=config.weight_decay, epsilon=1e-8)
        case "rmsprop":
            # Keras has epsilon under the square root.
            return optimizers.RMSprop(rate, rho=0.99, momentum=config.momentum, epsilon=1e-16)
        case "nadam":
            return optimizers.Nadam(rate, epsilon=1e-8)


def _prepare(threads: int) -> None:
    """Limits TensorFlow's threads and lets its memory on GPUs grow; both before its first use."""
    threading = tf.config.threading
    if threading.get_intra_op_parallelism_threads() == threads:
        return
    try:
        threading.set_intra_op_parallelism_threads(threads)
        threading.set_inter_op_parallelism_threads(1)
        for gpu in tf.config.list_physical_devices("GPU"):
            tf.config.experimental.set_memory_growth(gpu, True)
    except RuntimeError:
        logger.warning(
            "TensorFlow runs already in this process, with %d threads; it stays at that instead "
            "of %d.",
            threading.get_intra_op_parallelism_threads(),
            threads,
        )


def _policy(device: Device) -> str:
    """Keras' policy for the precision; `auto` is bf16 on GPUs and on CPUs that compute with it."""
    if device.precision == "auto":
        return "mixed_bfloat16" if device.name != "cpu" or cpu_has_bf16() else "float32"
    return "mixed_bfloat16" if device.precision == "bf16" else "float32"


class _Writable:
    """An array's memory declared writable, as DLPack wants it; nobody writes."""

    def __init__(self, array: np.ndarray) -> None:
        interface = array.__array_interface__
        self.__array_interface__ = {**interface, "data": (interface["data"][0], False)}
        self.kept = array


def _shared(images: np.ndarray) -> tf.Tensor:
    """The array as a tensor; without a copy if it is aligned, as those in Ray's memory are."""
    if images.ctypes.data % _ALIGNMENT or not images.flags.c_contiguous:
        return tf.constant(images)
    return tf.experimental.dlpack.from_dlpack(np.asarray(_Writable(images)).__dlpack__())


def _in_order(state: Weights) -> list[np.ndarray]:
    return [state[name] for name in sorted(state, key=lambda name: int(name.partition("/")[0]))]
