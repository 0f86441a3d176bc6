"""What decides each piece of a study, as a digest: where it differs, the piece is stale."""

from collections.abc import Mapping
from typing import Any

from resenc_plans.runs.run_record import decisive_settings
from resenc_plans.study.unattended.digests import combined, digest_of, sha256_of
from resenc_plans.study.unattended.graph import Piece, StudyGraph
from resenc_plans.study.unattended.methods import folder_of
from resenc_plans.study.unattended.study_data import StudyData
from resenc_plans.study.unattended.study_file import StudyFile, StudyMethod


class PieceKeys:
    """The keys of all pieces, by the study's file and the datasets as they are now."""

    def __init__(self, study: StudyFile, graph: StudyGraph, data: Mapping[str, StudyData]) -> None:
        self._study, self._data = study, data
        self._inputs = {name: combined(one.digests()) for name, one in data.items()}
        self._splits = {
            name: [split.to_dict() for split in one.splits()] for name, one in data.items()
        }
        self._keys: dict[Piece, str] = {}
        for piece, needs in graph.needs.items():
            before = [self._keys[one] for one in needs]
            self._keys[piece] = digest_of([piece.kind, before, self._decides(piece)])

    def __getitem__(self, piece: Piece) -> str:
        return self._keys[piece]

    def _decides(self, piece: Piece) -> Any:
        run = piece.run
        if piece.kind == "fingerprint":
            return self._inputs[run.dataset]
        method = self._study.methods[run.method]
        if piece.kind == "plans":
            return self._planned(method, run.dataset)
        if piece.kind == "training":
            assert run.seed is not None, "it is trained"
            assert run.fold is not None, "it is trained"
            settings = self._study.settings_of(run.method, run.seed)
            splits = self._splits[run.dataset]
            return {
                "settings": decisive_settings(settings.model_dump(exclude_unset=True)),
                "precision": settings.precision,
                "seed": run.seed,
                "network": method.network,
                "split": splits[run.fold] if run.fold < len(splits) else None,
            }
        if piece.kind == "evaluation":
            return {"metrics": sorted(self._study.measured_metrics), **self._made_elsewhere(piece)}
        return None

    def _planned(self, method: StudyMethod, dataset: str) -> Any:
        spec = method.model_dump(exclude={"settings", "network", "predictions"})
        root = self._data[dataset].places.root
        if method.plans is not None:
            path = folder_of(method.plans, dataset, root)
            spec["plans"] = sha256_of(path) if path.is_file() else None
        return spec

    def _made_elsewhere(self, piece: Piece) -> dict[str, Any]:
        """The predictions of a method that is not trained, and the references."""
        method, run = self._study.methods[piece.run.method], piece.run
        if method.predictions is None:
            return {}
        data = self._data[run.dataset]
        folder = folder_of(method.predictions, run.dataset, data.places.root)
        ending = data.dataset.json.file_ending
        files = {path.name: sha256_of(path) for path in sorted(folder.glob(f"*{ending}"))}
        return {"references": self._inputs[run.dataset], "predictions": files}
