"""Search spaces: YAML files that say what is fixed, what is searched and what is known good.

    model: cnn
    fixed: {dropout: 0.25, flip: true}
    search:
      optimizer: {choice: [adam, sgd]}
      learning_rate: {loguniform: [0.0003, 0.01]}
    known_good:
      - {optimizer: adam, learning_rate: 0.001}

Keys are fields of `FitConfig`. Domains are `choice: [...]`, `uniform: [low, high]`,
`loguniform: [low, high]`, `quniform: [low, high, step]` and `randint: [low, high]`, in which
`high` is included for `quniform` and left out for `randint`, as in Ray Tune.
"""

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from fmnist_ray.errors import RequestError
from fmnist_ray.models.config import MODEL_NAMES
from fmnist_ray.training.config import FitConfig

_TOP_LEVEL = ("model", "fixed", "search", "known_good")
_BOUNDS = {"uniform": 2, "loguniform": 2, "quniform": 3, "randint": 2}


@dataclass(frozen=True)
class Domain:
    """The values that one key may take.

    Attributes:
        kind: `choice`, `uniform`, `loguniform`, `quniform` or `randint`.
        values: The choices, or the bounds (and step).
    """

    kind: str
    values: tuple[Any, ...]

    def draw(self, random: np.random.Generator) -> Any:
        """One value at random, as a plain Python object."""
        if self.kind == "choice":
            return self.values[int(random.integers(len(self.values)))]
        low, high = self.values[:2]
        if self.kind == "uniform":
            return float(random.uniform(low, high))
        if self.kind == "loguniform":
            return float(np.exp(random.uniform(math.log(low), math.log(high))))
        if self.kind == "randint":
            return int(random.integers(low, high))
        step = self.values[2]
        steps = int(random.integers(round((high - low) / step) + 1))
        value = min(round(low + steps * step, 10), high)
        return int(value) if isinstance(step, int) and isinstance(low, int) else float(value)

    def ends(self) -> tuple[Any, ...]:
        """Values that stand for all of them when the domain is checked."""
        if self.kind == "choice":
            return self.values
        low, high = self.values[:2]
        return (low, high - 1) if self.kind == "randint" else (low, high)

    def contains(self, value: Any) -> bool:
        """Whether the domain could give this value."""
        if self.kind == "choice":
            return value in self.values
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        low, high = self.values[:2]
        if self.kind == "randint":
            return bool(value == int(value) and low <= value < high)
        return bool(low <= value <= high and (self.kind != "quniform" or self._on_a_step(value)))

    def nearest(self, value: float) -> Any:
        """The domain's value closest to a number."""
        if self.kind == "choice":
            return min(self.values, key=lambda each: abs(each - value))
        low, high = self.ends()
        value = min(max(value, low), high)
        if self.kind == "randint":
            return round(value)
        if self.kind != "quniform" or self._on_a_step(value):
            return value
        step = self.values[2]
        return round(low + round((value - low) / step) * step, 10)

    def _on_a_step(self, value: float) -> bool:
        steps = (value - self.values[0]) / self.values[2]
        return bool(abs(steps - round(steps)) < 1e-6)

    def describe(self) -> str:
        """The domain as it would be written in the file."""
        return f"{self.kind}: [{', '.join(str(value) for value in self.values)}]"


@dataclass(frozen=True)
class SearchSpace:
    """A checked search space.

    Attributes:
        source: The file's name, for messages.
        fixed: Values of every configuration, `model` among them.
        search: The domain of each searched key.
        known_good: Values of searched keys to try first.
    """

    source: str
    fixed: dict[str, Any]
    search: dict[str, Domain]
    known_good: tuple[dict[str, Any], ...] = ()

    @property
    def model(self) -> str:
        """The model's name, or `mixed` when it is searched."""
        return str(self.fixed.get("model", "mixed"))

    def configuration(self, searched: Mapping[str, Any]) -> dict[str, Any]:
        """Fixed and searched values together."""
        return {**self.fixed, **searched}

    def random(self, seed: int, index: int) -> dict[str, Any]:
        """The `index`-th random point: the same for the same seed, whatever came before it."""
        random = np.random.default_rng([seed, index])
        return {key: self.search[key].draw(random) for key in sorted(self.search)}

    def grid(self) -> list[dict[str, Any]]:
        """Every combination, the last key changing fastest.

        Raises:
            RequestError: A key has no finite set of values.
        """
        points: list[dict[str, Any]] = [{}]
        for key, domain in self.search.items():
            if domain.kind != "choice":
                raise RequestError(
                    f"{self.source}: `{key}` is {domain.describe()}, which has no grid. "
                    "Write it as a choice, or use --searcher random."
                )
            points = [{**point, key: value} for point in points for value in domain.values]
        return points

    def with_epochs_up_to(self, most: int) -> "SearchSpace":
        """The space with `epochs` cut to a limit; a space that does not name it gets the limit."""
        if "epochs" not in self.search:
            fixed = {**self.fixed, "epochs": min(self.fixed.get("epochs", most), most)}
            return replace(self, fixed=fixed)
        epochs = _cut(self.search["epochs"], most)
        known = tuple(
            {**point, "epochs": epochs.nearest(min(point["epochs"], most))}
            for point in self.known_good
        )
        return replace(self, search={**self.search, "epochs": epochs}, known_good=known)

    def with_fixed(self, key: str, value: Any, option: str) -> "SearchSpace":
        """The space with a value of every configuration that an option gave.

        Raises:
            RequestError: The key is searched, or the value is not allowed.
        """
        if key in self.search:
            raise RequestError(
                f"{option} {value}: {self.source} searches `{key}`. Leave the option out, or take "
                "the key out of the file."
            )
        return _checked(replace(self, fixed={**self.fixed, key: value}))

    def as_dict(self) -> dict[str, Any]:
        """The space as plain data, for the record; `parse_space` reads it."""
        return {
            "fixed": self.fixed,
            "search": {key: {d.kind: list(d.values)} for key, d in self.search.items()},
            "known_good": list(self.known_good),
        }


def known_spaces() -> list[Path]:
    """The files in `search_spaces` below the working directory, else in the clone that this is in."""
    folders = (Path("search_spaces"), Path(__file__).parents[2] / "search_spaces")
    return next((files for each in folders if (files := sorted(each.glob("*.yaml")))), [])


def load_space(path: str | Path) -> SearchSpace:
    """Reads and checks a search space.

    Raises:
        RequestError: The file is missing or no YAML, or a key, domain or value in it is wrong;
            the message names file, key and what is allowed.
    """
    path = Path(path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        found = ", ".join(each.as_posix() for each in known_spaces())
        known = f" There are: {found}." if found else ""
        raise RequestError(f"The search space {path} does not exist.{known}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"The search space {path} cannot be read: {error}.") from None
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise RequestError(f"{path} is not YAML: {reason}.") from None
    return parse_space(content, str(path))


def parse_space(content: Any, source: str) -> SearchSpace:
    """Checks a search space given as plain data; see `load_space`."""
    if not isinstance(content, dict):
        raise RequestError(f"{source}: expected keys {', '.join(_TOP_LEVEL)} at the top level.")
    for key in content:
        if key not in _TOP_LEVEL:
            raise RequestError(
                f"{source}: unknown key `{key}`. Known at the top level: {', '.join(_TOP_LEVEL)}."
            )
    fixed = _mapping(content.get("fixed"), source, "fixed")
    if "model" in content:
        fixed["model"] = content["model"]
    search = {
        key: _domain(value, source, key)
        for key, value in _mapping(content.get("search"), source, "search").items()
    }
    if not search:
        raise RequestError(f"{source}: `search` names nothing to search.")
    if "model" not in fixed and "model" not in search:
        raise RequestError(f"{source}: `model` is missing. Choose from: {', '.join(MODEL_NAMES)}.")
    for key in fixed:
        if key in search:
            raise RequestError(f"{source}: `{key}` stands under both `fixed` and `search`.")
    known_good = content.get("known_good") or []
    if not isinstance(known_good, list) or not all(isinstance(p, dict) for p in known_good):
        raise RequestError(f"{source}: `known_good` must be a list of mappings.")
    return _checked(SearchSpace(source, fixed, search, tuple(known_good)))


def _checked(space: SearchSpace) -> SearchSpace:
    """Builds configurations from every domain, so that none fails in the night.

    Returns:
        The space with its choices as `FitConfig` takes them: YAML reads 1e-3 as text.
    """
    usual = {key: domain.ends()[0] for key, domain in space.search.items()}
    FitConfig.checked(space.configuration(usual), space.source)
    search = {}
    for key, domain in space.search.items():
        taken = [
            getattr(
                FitConfig.checked(space.configuration({**usual, key: value}), space.source), key
            )
            for value in _samples(domain)
        ]
        search[key] = Domain("choice", tuple(taken)) if domain.kind == "choice" else domain
    # Of all keys only these two go together in some ways and not in others.
    together = [key for key in ("model", "framework") if key in search]
    for values in itertools.product(*(search[key].values for key in together)):
        point = {**usual, **dict(zip(together, values, strict=True))}
        FitConfig.checked(space.configuration(point), space.source)
    known_good = []
    for number, point in enumerate(space.known_good, start=1):
        where = f"{space.source}: known_good {number}"
        for key in point:
            if key not in space.search:
                raise RequestError(f"{where}: `{key}` does not stand under `search`.")
        missing = [key for key in space.search if key not in point]
        if missing:
            raise RequestError(f"{where}: `{missing[0]}` is searched, but has no value here.")
        config = FitConfig.checked(space.configuration(point), where)
        known_good.append({key: getattr(config, key) for key in point})
        for key, value in known_good[-1].items():
            if not search[key].contains(value):
                raise RequestError(
                    f"{where}: `{key}` is {value!r}, which {search[key].describe()} does not give."
                )
    return replace(space, search=search, known_good=tuple(known_good))


def _samples(domain: Domain) -> tuple[Any, ...]:
    """Values that stand for the domain: its ends, and one between them as it would be drawn."""
    if domain.kind in ("uniform", "loguniform"):
        low, high = domain.values
        return (low, high, low + (high - low) / math.pi)
    if domain.kind == "quniform":
        return (*domain.ends(), domain.values[0] + domain.values[2])
    return domain.ends()


def _cut(domain: Domain, most: int) -> Domain:
    """A domain of whole numbers without those above `most`, which takes their place."""
    if domain.kind == "choice":
        return Domain("choice", tuple(dict.fromkeys(min(each, most) for each in domain.values)))
    low, high = domain.values[:2]
    last = most + 1 if domain.kind == "randint" else most
    if high <= last:
        return domain
    if low >= last:
        return Domain("choice", (most,))
    if domain.kind == "quniform":
        step = domain.values[2]
        last = low + math.floor((last - low) / step + 1e-9) * step
        if last == low:
            return Domain("choice", (low,))
    return Domain(domain.kind, (low, last, *domain.values[2:]))


def _mapping(value: Any, source: str, name: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise RequestError(f"{source}: `{name}` must be a mapping of keys to values.")
    return {str(key): each for key, each in value.items()}


def _domain(value: Any, source: str, key: str) -> Domain:
    if key not in FitConfig.model_fields:
        known = ", ".join(sorted(FitConfig.model_fields))
        raise RequestError(f"{source}: `search` has the unknown key `{key}`. Known: {known}.")
    kinds = ", ".join(["choice", *_BOUNDS])
    if not isinstance(value, dict) or len(value) != 1:
        raise RequestError(
            f"{source}: `{key}` must be one domain, such as {{choice: [...]}}. Domains: {kinds}."
        )
    kind, values = next(iter(value.items()))
    if kind == "choice":
        if not isinstance(values, list) or not values:
            raise RequestError(f"{source}: `{key}` has an empty choice. List at least one value.")
        return Domain("choice", tuple(values))
    if kind not in _BOUNDS:
        raise RequestError(f"{source}: `{key}` has the unknown domain `{kind}`. Domains: {kinds}.")
    numbers = isinstance(values, list) and all(
        isinstance(each, int | float) and not isinstance(each, bool) for each in values
    )
    if not numbers or len(values) != _BOUNDS[kind]:
        form = "[low, high, step]" if kind == "quniform" else "[low, high]"
        raise RequestError(
            f"{source}: `{key}` is {kind}: {values!r}, but must be {kind}: {form} with numbers "
            "(write 0.0001 or 1.0e-4: YAML reads 1e-4 as text)."
        )
    low, high = values[:2]
    if low >= high:
        raise RequestError(
            f"{source}: `{key}` has the range {low} to {high}; the first must be the smaller."
        )
    if kind == "loguniform" and low <= 0:
        raise RequestError(f"{source}: `{key}` is loguniform from {low}; it must start above 0.")
    if kind == "quniform" and values[2] <= 0:
        raise RequestError(f"{source}: `{key}` has the step {values[2]}; it must be above 0.")
    if kind == "quniform" and not Domain(kind, tuple(values))._on_a_step(high):
        raise RequestError(
            f"{source}: `{key}` goes from {low} to {high}, which is not a whole number of steps "
            f"of {values[2]}."
        )
    if kind == "randint" and not all(isinstance(each, int) for each in values):
        raise RequestError(f"{source}: `{key}` is randint: {values!r}; both must be whole numbers.")
    return Domain(kind, tuple(values))
