"""What the service says of images, as JSON."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from fmnist_ray.app.classified import Classified, Probabilities
from fmnist_ray.app.pictures import as_data_uri
from fmnist_ray.dataset.arrays import CLASS_NAMES, Bytes

_DIGITS = 6


def answers(
    classified: Classified,
    images: Bytes,
    reasons: Mapping[int, str],
    *,
    members: bool,
    seen: bool,
) -> list[dict[str, Any]]:
    """An entry for each image of a request.

    Args:
        classified: What the model says of them.
        images: As the network saw them, (n, 28, 28).
        reasons: Why images could not be used, by their places.
        members: Whether to tell what each member says.
        seen: Whether to show what the network saw.
    """
    names, probability = classified.members, classified.probability
    mean = probability.mean(axis=0)
    found: list[dict[str, Any]] = []
    for place, image in enumerate(images):
        if place in reasons:
            found.append({"error": f"The image cannot be labelled: {reasons[place]}."})
            continue
        answer = _answer(mean[place])
        if members and names:
            answer["members"] = _votes(probability[:, place], names)
        if seen:
            answer["seen"] = as_data_uri(image)
        found.append(answer)
    return found


def _answer(probability: Probabilities) -> dict[str, Any]:
    label = int(probability.argmax())
    shares = [round(share, _DIGITS) for share in probability.tolist()]
    return {
        "class": CLASS_NAMES[label],
        "label": label,
        "probability": shares[label],
        "probabilities": dict(zip(CLASS_NAMES, shares, strict=True)),
    }


def _votes(probability: Probabilities, names: Sequence[str]) -> dict[str, Any]:
    labels = probability.argmax(axis=1)
    each = [
        {"name": name, "class": CLASS_NAMES[label], "probability": round(float(share), _DIGITS)}
        for name, label, share in zip(names, labels, probability.max(axis=1), strict=True)
    ]
    votes = Counter(str(one["class"]) for one in each)
    return {"votes": dict(votes.most_common()), "each": each}
