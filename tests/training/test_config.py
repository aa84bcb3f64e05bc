import pytest

from fmnist_ray.errors import RequestError
from fmnist_ray.training.config import FitConfig


def test_the_architecture_has_the_models_fields_only() -> None:
    config = FitConfig(model="resnet", activation="silu", width=19, learning_rate=0.1)
    assert config.architecture.model_dump() == {
        "model": "resnet",
        "activation": "silu",
        "dropout": None,
        "width": 19,
        "width_growth": "linear",
        "first_stride": 2,
        "blocks": 1,
    }


@pytest.mark.parametrize(
    ("values", "parts"),
    [
        ({"learning_rat": 0.1}, ["learning_rat", "learning_rate"]),
        ({"optimizer": "adagrad"}, ["optimizer", "adagrad", "rmsprop"]),
        ({"model": "transformer"}, ["model", "transformer", "resnet"]),
        ({"learning_rate": 0}, ["learning_rate", "greater than 0"]),
        ({"learning_rate": float("nan")}, ["learning_rate"]),
        ({"dropout": 1.0}, ["dropout", "less than 1"]),
        ({"batch_size": 0}, ["batch_size", "greater than or equal to 1"]),
        ({"batch_size": "many"}, ["batch_size", "many", "integer"]),
        ({"early_stopping": 0}, ["early_stopping"]),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(values: dict, parts: list[str]) -> None:
    with pytest.raises(RequestError) as error:
        FitConfig.checked(values, "space.yaml")
    for part in ["space.yaml", *parts]:
        assert part in str(error.value)
