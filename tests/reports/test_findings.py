"""Key figures and sentences, from metrics as the verbs write them."""

from fmnist_ray.reports.findings import Card, cards, sentences


def test_cards_show_what_there_is_with_units() -> None:
    metrics = {
        "test_accuracy": 0.9176,
        "test_accuracy_low": 0.912,
        "test_accuracy_high": 0.9228,
        "test_loss": 0.27509,
        "test_ece": 0.0356,
        "trials": 24,
        "seconds": 3.0,
    }
    assert cards(metrics, {"parameters": 121930}) == [
        Card("Test accuracy", "91.76 %", "95 % interval 91.20 to 92.28"),
        Card("Test loss (NLL)", "0.2751", "nats"),
        Card("Calibration error (ECE)", "3.56", "points, 15 bins"),
        Card("Parameters", "121,930"),
        Card("Trials", "24"),
    ]


def test_nothing_known_gives_nothing() -> None:
    assert cards({}, {}) == []
    assert sentences({}) == []
    assert cards({"test_accuracy": None, "trials": "many"}, {}) == []


def test_the_temperature_is_told_with_its_origin() -> None:
    said = sentences(
        {
            "test_ece": 0.03,
            "temperature": 1.5,
            "temperature_from": "its validation images",
            "test_ece_with_temperature": 0.01,
        }
    )
    assert said == [
        "Its probabilities are off by 3.00 points on average (ECE); a temperature of 1.50, fitted "
        "on its validation images, brings that down to 1.00."
    ]


def test_what_an_ensemble_gains_is_told_by_group() -> None:
    said = sentences(
        {
            "cnn_seeds_members": 10,
            "cnn_seeds_gain": 0.013,
            "cnn_seeds_ensemble_accuracy": 0.9312,
            "cnn_seeds_member_accuracy_mean": 0.9182,
        }
    )
    assert said == [
        "cnn seeds: 10 members are right on 91.82 % each and on 93.12 % together, +1.30 points."
    ]


def test_failures_are_told() -> None:
    assert sentences({"units_failed": 2}) == ["2 fits failed and are left out."]
    assert sentences({"units_failed": 0}) == []


def test_a_temperature_that_does_not_help_is_told_as_such() -> None:
    (said,) = sentences({"test_ece": 0.01, "temperature": 1.2, "test_ece_with_temperature": 0.02})
    assert "does not help: it makes that 2.00" in said


def test_folds_are_told_with_their_deviation() -> None:
    said = sentences(
        {"units": 5, "validation_accuracy_mean": 0.9075, "validation_accuracy_deviation": 0.0012}
    )
    assert said == ["5 folds: 90.75 % ± 0.12 points on the images that each held out."]
