"""The analysis of a search, from its record alone: figures, a table of trials, and sentences.

It needs neither Ray nor the images, and can be made while the search still runs.
"""

from collections.abc import Sequence
from typing import Any, cast

from matplotlib.figure import Figure

from fmnist_ray.errors import RequestError
from fmnist_ray.records import Record, write_whole
from fmnist_ray.reports.figures import write_png
from fmnist_ray.reports.search import CAPTIONS, draw_best, draw_trial_curves
from fmnist_ray.reports.search_courses import Aim, TrialCourse, rung_counts
from fmnist_ray.reports.search_parallel import draw_contour, draw_parallel
from fmnist_ray.reports.search_parameters import Importance, Parameter, TrialTable
from fmnist_ray.reports.search_slices import draw_importance, draw_slices
from fmnist_ray.reports.search_timeline import draw_timeline
from fmnist_ray.reports.tables import write_table
from fmnist_ray.reports.wording import count
from fmnist_ray.search.courses import SearchClock, trial_courses
from fmnist_ray.search.findings import (
    Comparison,
    SearchFindings,
    search_metrics,
    search_sentences,
    trial_rows,
)
from fmnist_ray.search.journal import JOURNAL_FILE, TrialState, read_events, trial_states
from fmnist_ray.search.parameters import (
    common_epoch,
    comparable_trials,
    comparison_study,
    curve_study,
    importance_method,
    importances,
)
from fmnist_ray.search.settings import SearchSettings
from fmnist_ray.search.space import SearchSpace, parse_space

TRIALS_FILE = "trials.csv"
STEMS = tuple(name.removesuffix(".png") for name in CAPTIONS)

_FEWEST_TRIALS = 6
_SHORTEST_SECONDS = 0.5
_COMPARED = ("search_importance", "search_slices", "search_contour")


def draw_search(record: Record) -> SearchFindings:
    """Draws a search and says what came of it.

    Writes `figures/search_*.png`, for some of them Plotly's JSON beside it
    (`search_*.plotly.json`), and `trials.csv`. A figure that cannot be drawn (any more) is not
    there afterwards; the findings say why.

    Raises:
        RequestError: The record is not that of a search, or its settings are damaged.
        WorkError: A file cannot be written.
    """
    settings = recorded_settings(record)
    space = parse_space(settings.space, settings.space_source)
    return _Analysis(record, settings, space.with_epochs_up_to(settings.max_epochs)).run()


def recorded_settings(record: Record) -> SearchSettings:
    """The settings a search was begun with; what an older or newer version kept is left out.

    Raises:
        RequestError: The record is not that of a search, or its settings are damaged.
    """
    run = record.run()
    config = run.get("config")
    if run.get("verb") != "tune" or not isinstance(config, dict):
        raise RequestError(f"{record.path} is a record of `{run.get('verb')}`, not of a search.")
    known = {key: value for key, value in config.items() if key in SearchSettings.model_fields}
    if not isinstance(known.get("space"), dict):
        raise RequestError(f"{record.path / 'run.json'} names no search space under `config`.")
    return SearchSettings.checked({"space_source": str(record.path / "run.json"), **known})


class _Analysis:
    """What the figures of one search are drawn from."""

    def __init__(self, record: Record, settings: SearchSettings, space: SearchSpace) -> None:
        self.record, self.settings, self.space = record, settings, space
        events = list(read_events(record.path / JOURNAL_FILE))
        self.states: list[TrialState] = list(trial_states(events).values())
        self.clock = SearchClock(events)
        self.courses: list[TrialCourse] = trial_courses(
            events, self.states, settings.metric, settings.scheduler == "pbt"
        )
        accuracy = settings.metric == "validation_accuracy"
        self.aim = Aim(settings.metric.replace("_", " "), settings.mode == "max", accuracy)
        self.left_out: dict[str, str] = {}
        self.drawn: set[str] = set()

    def run(self) -> SearchFindings:
        self._draw_courses()
        comparison = self._draw_parameters()
        if self.states:
            rows = trial_rows(self.states, self.courses, self.aim, list(self.space.search))
            write_table(self.record.path / TRIALS_FILE, rows)
        self._remove_what_was_not_drawn()
        return SearchFindings(
            search_sentences(
                self.states,
                self.courses,
                self.aim,
                self.settings.scheduler,
                list(self.space.search),
                self.clock.total,
                comparison,
            ),
            search_metrics(
                self.courses, self.aim, self.clock.total, len(self.clock.sessions), comparison
            ),
            self.left_out,
        )

    def _draw_courses(self) -> None:
        """The figures of how the search went."""
        of = count(len(self.states), "trial")
        if self.clock.total >= _SHORTEST_SECONDS and any(each.spans for each in self.courses):
            figure = draw_timeline(
                self.courses, self.clock.starts, self.clock.total, f"When each trial ran: {of}"
            )
            self._png("search_timeline", figure)
        else:
            self.left_out["search_timeline"] = "The search has not run long enough."
        if not any(course.epoch for course in self.courses):
            for stem in ("search_best", "search_curves"):
                self.left_out[stem] = "No trial has finished an epoch."
            return
        self._png(
            "search_best", draw_best(self.courses, self.aim, self.clock.total, f"Best so far: {of}")
        )
        steps = rung_counts(self.courses, self.settings.rungs)
        title = f"{self.aim.name.capitalize()} after each epoch: {of}"
        self._png("search_curves", draw_trial_curves(self.courses, self.aim, steps, title))
        plots = _plots()
        interactive = plots.plot_intermediate_values(
            curve_study(self.states, self.courses, self.aim)
        )
        interactive.update_layout(xaxis_title="epoch", yaxis_title=self.aim.label)
        self._plotly("search_curves", interactive, title)

    def _draw_parameters(self) -> Comparison:
        """The figures of what the parameters did."""
        self._draw_parallel()
        epoch, _ = common_epoch(self.courses)
        table = comparable_trials(self.space, self.states, self.courses, self.aim, epoch)
        comparison = Comparison(epoch, table)
        reason = self._why_not_compared(table)
        if reason:
            self.left_out |= dict.fromkeys(_COMPARED, reason)
            return comparison
        words = comparison.words(len(self.states))
        varying = [each for each in table.parameters if each.varies]
        plots = _plots()
        study = comparison_study(self.space, self.states, table, self.aim)
        names = [each.name for each in varying]
        self._png("search_slices", draw_slices(_only(table, varying), self.aim, _up(words)))
        figure = plots.plot_slice(study, params=names, target_name=self.aim.label)
        self._plotly("search_slices", figure, _up(words))
        everywhere = [each for each in varying if bool((each.place == each.place).all())]
        if len(everywhere) < 2:
            reason = (
                "Two parameters that all trials use, and in which they differ, are needed; there "
                f"{'is' if len(everywhere) == 1 else 'are'} {len(everywhere)}."
            )
            self.left_out["search_importance"] = self.left_out["search_contour"] = reason
            return Comparison(epoch, table, only=varying[0] if len(varying) == 1 else None)
        found = importances(study, [each.name for each in everywhere], self.settings.seed)
        title = f"Importance of parameters ({importance_method(len(table.units))}), {words}"
        self._png("search_importance", draw_importance(found, title))
        self._plotly("search_importance", _bars(found), title)
        self._draw_contour(study, table, [each.name for each in found], words)
        return Comparison(epoch, table, tuple(found))

    def _draw_contour(
        self, study: Any, table: TrialTable, names: Sequence[str], words: str
    ) -> None:
        by_name = {each.name: each for each in table.parameters}
        ordered = [by_name[name] for name in names if by_name[name].ordered]
        if len(ordered) < 2:
            self.left_out["search_contour"] = (
                "Fewer than two of the parameters that differ are numbers."
            )
            return
        first, second = ordered[:2]
        title = f"{_up(first.name)} and {second.name}, {words}"
        self._png("search_contour", draw_contour(table, first, second, self.aim, title))
        figure = _plots().plot_contour(
            study, params=[first.name, second.name], target_name=self.aim.label
        )
        self._plotly("search_contour", figure, title)

    def _draw_parallel(self) -> None:
        table = comparable_trials(self.space, self.states, self.courses, self.aim, None)
        varying = [each for each in table.parameters if each.varies]
        if len(table.units) < 2 or len(varying) < 2:
            self.left_out["search_parallel"] = (
                "It needs two trials with a finished epoch, and two parameters in which they "
                f"differ; there are {count(len(table.units), 'such trial')} and "
                f"{count(len(varying), 'such parameter')}."
            )
            return
        title = f"Best {self.aim.name} of {len(table.units)} trials and their values"
        if self.settings.scheduler == "pbt":
            title += " at the end"
        best = table.value.argmax() if self.aim.highest else table.value.argmin()
        title += f" (thick: {table.units[int(best)]})"
        self._png("search_parallel", draw_parallel(_only(table, varying), self.aim, title))
        study = comparison_study(self.space, self.states, table, self.aim)
        figure = _plots().plot_parallel_coordinate(
            study, params=[each.name for each in varying], target_name=self.aim.label
        )
        self._plotly("search_parallel", figure, title)

    def _why_not_compared(self, table: TrialTable) -> str:
        """Why no parameters can be compared; empty if they can."""
        if self.settings.scheduler == "pbt":
            return (
                "PBT changes values while trials train and copies their weights, so that no "
                "figure belongs to one set of values."
            )
        if len(table.units) < _FEWEST_TRIALS:
            return (
                f"Only {count(len(table.units), 'trial')} can be compared after the same number of "
                f"epochs; at least {_FEWEST_TRIALS} are needed."
            )
        if not any(each.varies for each in table.parameters):
            return "All trials have the same values of the searched parameters."
        if len(set(table.value.tolist())) < 2:
            return "All trials have the same figure."
        return ""

    def _png(self, stem: str, figure: Figure) -> None:
        write_png(self.record.path / "figures" / f"{stem}.png", figure)
        self.drawn.add(f"{stem}.png")

    def _plotly(self, stem: str, figure: Any, title: str) -> None:
        figure.update_layout(title=title, template="plotly_white", font_size=13)
        content = cast("str", figure.to_json()).encode()
        write_whole(self.record.path / "figures" / f"{stem}.plotly.json", content)
        self.drawn.add(f"{stem}.plotly.json")

    def _remove_what_was_not_drawn(self) -> None:
        """An earlier figure of the search would tell of another state of it."""
        for stem in STEMS:
            for name in (f"{stem}.png", f"{stem}.plotly.json"):
                if name not in self.drawn:
                    (self.record.path / "figures" / name).unlink(missing_ok=True)


def _only(table: TrialTable, parameters: Sequence[Parameter]) -> TrialTable:
    return table._replace(parameters=tuple(parameters))


def _up(text: str) -> str:
    return text[:1].upper() + text[1:]


def _plots() -> Any:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna.visualization


def _bars(found: Sequence[Importance]) -> Any:
    """The importances as Plotly's bars: Optuna's own plot would compute others."""
    from plotly import graph_objects

    names = [each.name for each in reversed(found)]
    shares = [100 * each.share for each in reversed(found)]
    bars = graph_objects.Bar(
        x=shares,
        y=names,
        orientation="h",
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [100 * (each.high - each.share) for each in reversed(found)],
            "arrayminus": [100 * (each.share - each.low) for each in reversed(found)],
        },
    )
    return graph_objects.Figure(bars, {"xaxis": {"title": "importance in percent"}})
