"""One MLflow run for each trial of a search, however often the trial pauses and goes on."""

from typing import Any

from ray.air.integrations.mlflow import MLflowLoggerCallback

from fmnist_ray.search.schedulers import fit_values, row_of, unit_name


class MLflowRuns(MLflowLoggerCallback):  # type: ignore[misc]
    """Ray's callback, with runs kept by the trial's unit, epochs as steps, and the fit's values alone.

    Tune sees a trial that goes on from its rung as another one; MLflow must not.
    """

    def __getstate__(self) -> dict[str, Any]:
        return {}  # as `callbacks.StatelessCallback`

    def log_trial_start(self, trial: Any) -> None:
        unit = unit_name(trial)
        if unit not in self._trial_runs:
            run = self.mlflow_util.start_run(tags={"trial_name": unit}, run_name=unit)
            self._trial_runs[unit] = run.info.run_id
            values = fit_values(trial.config)
            self.mlflow_util.log_params(run_id=self._trial_runs[unit], params_to_log=values)

    def log_trial_result(self, iteration: int, trial: Any, result: dict[str, Any]) -> None:
        row = row_of(result)
        run_id = self._trial_runs[unit_name(trial)]
        self.mlflow_util.log_metrics(run_id=run_id, metrics_to_log=row, step=row["epoch"])

    def log_trial_end(self, trial: Any, failed: bool = False) -> None:
        status = "FAILED" if failed else "FINISHED"
        self.mlflow_util.end_run(run_id=self._trial_runs[unit_name(trial)], status=status)
