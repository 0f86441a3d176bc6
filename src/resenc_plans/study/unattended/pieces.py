"""How each piece of a study is done."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from resenc_plans.datasets.fingerprint import Fingerprint
from resenc_plans.errors import EvaluationError, ModelError, StudyError
from resenc_plans.evaluation.chosen_metrics import (
    METRICS_JSON,
    check_chosen_metrics,
    measure_chosen,
)
from resenc_plans.evaluation.evaluate import evaluate
from resenc_plans.evaluation.summary import Summary
from resenc_plans.evaluation.task import find_task
from resenc_plans.execution.cases import CaseProblem, together
from resenc_plans.files import inside, make_folder
from resenc_plans.folders import (
    DATASET_JSON,
    FINAL_CHECKPOINT,
    FINGERPRINT_JSON,
    GROUND_TRUTH,
    SUMMARY_JSON,
)
from resenc_plans.planning.replanning import copy_dataset_json
from resenc_plans.plans.configuration import ResolvedConfiguration
from resenc_plans.plans.plans import Plans
from resenc_plans.plans.trained_configuration import (
    trained_configuration as configuration_of_trainer,
)
from resenc_plans.preprocessing.ground_truth import copy_ground_truth
from resenc_plans.preprocessing.preprocessor import Preprocessor
from resenc_plans.preprocessing.store.folder import store_folder
from resenc_plans.runs.folds import CASES_JSON
from resenc_plans.runs.run_cost import COST_JSON
from resenc_plans.runs.run_record import RUN_JSON
from resenc_plans.runs.validation_record import VALIDATION_JSON
from resenc_plans.study.unattended.costs import expect_cost
from resenc_plans.study.unattended.graph import Piece
from resenc_plans.study.unattended.methods import (
    folder_of,
    own_network,
    plan_method,
    trained_configuration,
    trainer_name,
)
from resenc_plans.study.unattended.places import StudyPlaces
from resenc_plans.study.unattended.study_data import StudyData
from resenc_plans.study.unattended.study_file import StudyFile

if TYPE_CHECKING:
    from resenc_plans.training.own_parts import OwnParts

TOLERANCE = 1.0
"""Of the normalised surface Dice, in mm."""


@dataclass(frozen=True, kw_only=True)
class Doing:
    """What doing a piece needs to know. Each step returns the files that it has written."""

    study: StudyFile
    data: StudyData
    piece: Piece
    places: StudyPlaces
    is_begun: bool
    """Whether the same piece, from the same inputs, was begun before."""
    device: str | None = None
    allow_import: tuple[str, ...] = ()

    def do(self) -> tuple[Path, ...] | None:
        """Do the piece; the files that it consists of, None where a training was stopped.

        Raises
        ------
        ResencPlansError
            It cannot be done.
        """
        steps: dict[str, Callable[[], Iterable[Path] | None]] = {
            "fingerprint": self._fingerprint,
            "plans": self._plans,
            "preprocessing": self._preprocessing,
            "training": self._training,
            "prediction": self._prediction,
            "evaluation": self._evaluation,
        }
        written = steps[self.piece.kind]()
        return None if written is None else tuple(written)

    @property
    def _folder(self) -> Path:
        return self.places.preprocessed(self.piece.run.dataset)

    @property
    def _config(self) -> ResolvedConfiguration:
        run = self.piece.run
        plans = Plans.load(self.places.plans(run.dataset, run.method))
        method = self.study.methods[run.method]
        return plans.resolve(trained_configuration(run.method, method))

    def _fingerprint(self) -> Iterable[Path]:
        make_folder(self._folder)
        path = self._folder / FINGERPRINT_JSON
        Fingerprint.extract(self.data.dataset).save(path)
        copy_dataset_json(self.data.dataset.folder, self._folder)
        copy_ground_truth(self.data.dataset, self._folder)
        self.data.save_splits()
        return path, self._folder / DATASET_JSON

    def _plans(self) -> Iterable[Path]:
        run = self.piece.run
        path = self.places.plans(run.dataset, run.method)
        fingerprint = Fingerprint.load(self._folder / FINGERPRINT_JSON)
        method = self.study.methods[run.method]
        plans = plan_method(run.method, method, self.data.dataset, fingerprint, self.places.root)
        config = plans.resolve(trained_configuration(run.method, method))
        settings = self.study.settings_of(run.method, 0).over(config.training)
        config = configuration_of_trainer(config, settings.trainer)
        cost = expect_cost(method, config, self.data.dataset, self.allow_import)
        plans.save(path)
        expected = self.places.expected_cost(run.dataset, run.method)
        cost.save(expected)
        return path, expected

    def _preprocessing(self) -> Iterable[Path]:
        config = self._config
        store = inside(self._folder, store_folder(self._folder, config))
        _refuse_problems(Preprocessor(config).run(self.data.dataset, store).problems)
        return ()

    def _training(self) -> Iterable[Path] | None:
        from resenc_plans.workflows.train_fold import train_fold

        run, config = self.piece.run, self._config
        self.data.save_splits()
        method, folder = self.study.methods[run.method], self.places.run(run)
        network = own_network(method, config, self.data.dataset, self.allow_import)
        parts: OwnParts = {} if network is None else {"network": network}
        settings = self.study.settings_of(run.method, run.seed or 0)
        trainer = trainer_name(run.method, method, settings.over(config.training).trainer)
        self.places.name_model(run, f"{trainer}__{config.plans.name}__{config.name}")

        def train(*, resume: bool) -> bool:
            trained = train_fold(
                config,
                self.data.dataset,
                run.fold if run.fold is not None else 0,
                settings=settings,
                device=self.device,
                name=trainer,
                run_folder=folder,
                resume=resume,
                overwrite=not resume,
                allow_differences=True,
                validation=False,
                allow_import=self.allow_import,
                **parts,
            )
            return trained.training.is_complete

        try:
            is_complete = train(resume=self.is_begun)
        except ModelError:
            if not self.is_begun:
                raise
            is_complete = train(resume=False)  # its checkpoint is damaged
        if not is_complete:
            return None
        names = FINAL_CHECKPOINT, RUN_JSON, CASES_JSON, COST_JSON
        return [folder.path / name for name in names if (folder.path / name).is_file()]

    def _prediction(self) -> Iterable[Path]:
        from resenc_plans.workflows.held_out import validate_held_out
        from resenc_plans.workflows.train_fold import prediction_settings

        run, config = self.piece.run, self._config
        method, folder = self.study.methods[run.method], self.places.run(run)
        settings = self.study.settings_of(run.method, run.seed or 0)
        validated = validate_held_out(
            config,
            self.data.dataset,
            folder,
            prediction_settings(settings, self.device, self.allow_import),
            network=own_network(method, config, self.data.dataset, self.allow_import),
        )
        _refuse_problems(validated.evaluation.problems)
        segmentations = folder.validation.glob(f"*{self.data.dataset.json.file_ending}")
        scores = (folder.validation / name for name in (SUMMARY_JSON, VALIDATION_JSON))
        return *segmentations, *scores

    def _evaluation(self) -> Iterable[Path]:
        run, metrics = self.piece.run, self.study.measured_metrics
        method = self.study.methods[run.method]
        if method.predictions is not None:
            return self._evaluate_elsewhere(method.predictions)
        folder = self.places.run(run)
        scores = folder.validation / METRICS_JSON
        if not metrics:
            return ()
        references = self._folder / GROUND_TRUTH
        names = check_chosen_metrics(metrics, TOLERANCE)
        task = find_task(folder.validation, references, dataset=self._folder / DATASET_JSON)
        chosen = measure_chosen(folder.validation, references, task, names, tolerance=TOLERANCE)
        _refuse_problems(chosen.problems)
        chosen.save(scores, Summary.load(folder.validation / SUMMARY_JSON))
        return (scores,)

    def _evaluate_elsewhere(self, predictions: str) -> Iterable[Path]:
        run = self.piece.run
        source = folder_of(predictions, run.dataset, self.places.root)
        target = self.places.method(run)
        make_folder(target)
        evaluation = evaluate(
            source,
            self.data.dataset.folder / "labelsTr",
            dataset=self.data.dataset.folder,
            output=target / SUMMARY_JSON,
            metrics=self.study.measured_metrics,
        )
        _refuse_problems(evaluation.problems)
        if evaluation.summary is None:
            raise EvaluationError(f"{source}: no prediction could be evaluated.")
        return evaluation.written


def _refuse_problems(problems: Iterable[CaseProblem]) -> None:
    """A piece of which cases failed is not done.

    Raises
    ------
    StudyError
        There are some.
    """
    texts = [str(problem) for problem in together(problems)]
    if texts:
        raise StudyError("; ".join(texts))
