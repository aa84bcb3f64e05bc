"""Which configurations a search tries: random, grid and TPE, each able to begin in the middle."""

from typing import Any, Protocol

from fmnist_ray.errors import RequestError
from fmnist_ray.search.space import Domain, SearchSpace

Point = dict[str, Any]


class Sampler(Protocol):
    """Gives the searched values of each trial."""

    def propose(self, index: int) -> Point | None:
        """The values of trial `index`, or None when there are no more."""

    def tell(self, unit: str, point: Point, value: float | None) -> None:
        """The best figure of a trial that ended or paused, in place of an earlier one; None if it
        failed.
        """


class RandomSampler:
    """Known good points first, then random ones that depend on (seed, index) only."""

    def __init__(self, space: SearchSpace, seed: int) -> None:
        self._space, self._seed = space, seed

    def propose(self, index: int) -> Point | None:
        known = self._space.known_good
        return dict(known[index]) if index < len(known) else self._space.random(self._seed, index)

    def tell(self, unit: str, point: Point, value: float | None) -> None:
        """Random points do not depend on earlier ones."""


class GridSampler:
    """Known good points first, then the rest of the grid in the file's order."""

    def __init__(self, space: SearchSpace) -> None:
        known = [dict(point) for point in space.known_good]
        self._points = known + [point for point in space.grid() if point not in known]

    def __len__(self) -> int:
        return len(self._points)

    def propose(self, index: int) -> Point | None:
        return self._points[index] if index < len(self._points) else None

    def tell(self, unit: str, point: Point, value: float | None) -> None:
        """The grid does not depend on earlier points."""


class TPESampler:
    """Optuna's tree-structured Parzen estimator (Bergstra et al. 2011), known good points first.

    The study lives in memory and is told finished trials again on a resume, so nothing of it
    has to be read from disk.
    """

    def __init__(self, space: SearchSpace, seed: int, mode: str) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._space, self._seed = space, seed
        self._mode = mode
        self._distributions = distributions_of(space)
        self._told: dict[str, Any] = {}
        self._study: Any = None

    def propose(self, index: int) -> Point | None:
        import optuna

        known = self._space.known_good
        if index < len(known):
            return dict(known[index])
        study = self._current_study()
        # Seeded by index, so that a resumed search draws as an uninterrupted one would.
        study.sampler = optuna.samplers.TPESampler(seed=self._seed + index, n_startup_trials=8)
        asked = study.ask(self._distributions)
        # `tell` adds the finished trial anew; left running, this one would stay for ever.
        study.tell(asked, state=optuna.trial.TrialState.FAIL)
        return dict(asked.params)

    def tell(self, unit: str, point: Point, value: float | None) -> None:
        import optuna

        state = optuna.trial.TrialState
        trial = optuna.trial.create_trial(
            params=point,
            distributions=self._distributions,
            value=value,
            state=state.FAIL if value is None else state.COMPLETE,
        )
        if unit in self._told:
            self._study = None  # a study's trials cannot be changed
        elif self._study is not None:
            self._study.add_trial(trial)
        self._told[unit] = trial

    def _current_study(self) -> Any:
        import optuna

        if self._study is None:
            direction: Any = "maximize" if self._mode == "max" else "minimize"
            self._study = optuna.create_study(direction=direction)
            self._study.add_trials(self._told.values())
        return self._study


def build_sampler(searcher: str, space: SearchSpace, seed: int, mode: str) -> Sampler:
    """The named searcher over a space.

    Raises:
        RequestError: The space has no grid, or values that TPE cannot hold.
    """
    if searcher == "grid":
        return GridSampler(space)
    if searcher == "optuna":
        return TPESampler(space, seed, mode)
    return RandomSampler(space, seed)


def distributions_of(space: SearchSpace) -> dict[str, Any]:
    """The searched keys as Optuna's distributions."""
    return {key: _distribution(domain) for key, domain in space.search.items()}


def _distribution(domain: Domain) -> Any:
    from optuna import distributions

    values: tuple[Any, ...] = domain.values
    match domain.kind:
        case "choice":
            if not all(v is None or isinstance(v, bool | int | float | str) for v in values):
                raise RequestError(f"--searcher optuna cannot search {domain.describe()}.")
            return distributions.CategoricalDistribution(values)
        case "uniform":
            return distributions.FloatDistribution(*values)
        case "loguniform":
            return distributions.FloatDistribution(values[0], values[1], log=True)
        case "randint":
            return distributions.IntDistribution(values[0], values[1] - 1)
        case _ if all(isinstance(each, int) for each in values):
            return distributions.IntDistribution(values[0], values[1], step=values[2])
        case _:
            return distributions.FloatDistribution(values[0], values[1], step=values[2])
