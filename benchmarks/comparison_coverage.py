"""How often the intervals of `compare` hold the truth, and how often its test is wrong.

Studies are made up: patients with one or three cases, methods whose scores are skewed as Dice is,
in the last rows with failures. Patients differ in difficulty, and methods differ from patient to
patient by chance. In half of the studies all methods are alike: any adjusted p value below 0.05 is
wrong there. In the other half the first method is better, by a difference that is known from ten
million cases. Scores go through what `compare` itself computes.

The whole table takes 2,000 studies per row: `python benchmarks/comparison_coverage.py`. What
`--log` names keeps the counts of each hundred studies, and a later call goes on from there.
"""

import argparse
import json
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache
from itertools import product
from math import sqrt
from pathlib import Path

import numpy as np

from resenc_plans.evaluation.known_metrics import KNOWN_METRICS
from resenc_plans.study.comparison import ComparisonSettings
from resenc_plans.study.paired import PairedComparison
from resenc_plans.study.scores import Scores
from resenc_plans.study.statistics.clusters import Clusters, Floats

SHIFT = 0.25
"""Of the better method, in logits: about 0.02 Dice."""
FAILURES = 0.02
"""Share of lost cases in the last rows."""
LEVEL = 0.95
BLOCK = 100
"""Studies whose counts are kept together."""


@dataclass(frozen=True)
class Setting:
    """A row of the table."""

    patients: int
    cases: int
    """Of each patient."""
    methods: int
    failures: float = 0.0
    """Share of cases that a method loses, wholly or in part."""


@dataclass(frozen=True)
class Counts:
    """Of how many studies an interval holds the truth, or a test is wrong."""

    studies: int
    expanded: int
    """Intervals of a difference that hold it, as `compare` shows them."""
    percentile: int
    bca: int
    mean_expanded: int
    """Intervals of a method's mean that hold it."""
    mean_percentile: int
    mean_bca: int
    wrong: int
    """Studies of equal methods in which any adjusted p value is below 0.05."""
    wrong_without_patients: int
    """The same, where each case counts as a patient."""

    def __add__(self, other: "Counts") -> "Counts":
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return Counts(*(one + another for one, another in pairs))


def made_scores(
    setting: Setting, random: np.random.Generator, shift: float
) -> tuple[Floats, list[int]]:
    """Scores `(methods, cases)` of one study, and the patient of each case."""
    patient = np.repeat(np.arange(setting.patients), setting.cases)
    difficulty = 0.8 * random.normal(size=setting.patients)[patient]
    difficulty = difficulty + 0.4 * random.normal(size=patient.size)
    shape = setting.methods, patient.size
    of_method = 0.35 * random.normal(size=(setting.methods, setting.patients))[:, patient]
    logits = 2.2 + difficulty + of_method + 0.25 * random.normal(size=shape)
    logits[0] += shift
    scores = 1 / (1 + np.exp(-logits))
    is_lost = random.random(shape) < setting.failures
    scores[is_lost] *= random.random(int(is_lost.sum()))
    return scores, patient.tolist()


@cache
def truth(failures: float) -> tuple[float, float]:
    """The first method's mean, and how much better it is than another one."""
    random = np.random.default_rng(0)
    parts = []
    for _ in range(50):
        scores, _patients = made_scores(Setting(200_000, 1, 2, failures), random, SHIFT)
        parts.append((scores[0].mean(), (scores[0] - scores[1]).mean()))
    mean, difference = np.mean(parts, 0).tolist()
    return mean, difference


def study(setting: Setting, seed: int, draws: int) -> Counts:
    """Two studies of a setting: one in which methods are alike, and one in which they are not."""
    random = np.random.default_rng((seed, setting.patients, setting.cases, setting.methods))
    mean, difference = truth(setting.failures)
    settings = ComparisonSettings(draws=draws, level=LEVEL, seed=seed)

    def compared(scores: Floats, patients: Sequence[int]) -> PairedComparison:
        names = tuple(map(str, range(scores.shape[1])))
        methods = tuple(map(str, range(len(scores))))
        paired = Scores(KNOWN_METRICS["Dice"], methods, names, (1,), scores[:, :, None])
        return PairedComparison(paired, Clusters.of(patients), settings)

    def is_wrong(patients: Sequence[int]) -> bool:
        pairs = compared(alike, patients).result().pairs_of()
        return any(pair.p_holm < 1 - LEVEL for pair in pairs)

    alike, patients = made_scores(setting, random, 0.0)
    wrong = is_wrong(patients)
    without = is_wrong(range(len(patients))) if setting.cases > 1 else wrong
    scores, patients = made_scores(setting, random, SHIFT)
    result = compared(scores, patients).result()
    pair, first = result.pairs_of()[0], result.of_label()[0]
    return Counts(
        studies=1,
        expanded=difference in pair.interval,
        percentile=difference in pair.percentile,
        bca=difference in pair.bca,
        mean_expanded=mean in first.interval,
        mean_percentile=mean in first.percentile,
        mean_bca=mean in first.bca,
        wrong=wrong,
        wrong_without_patients=without,
    )


def studies(setting: Setting, seeds: range, draws: int) -> Counts:
    """The counts of all studies of a setting."""
    return total(study(setting, seed, draws) for seed in seeds)


def total(parts: Iterable[Counts]) -> Counts:
    """The counts of all parts."""
    first, *others = parts
    return sum(others, start=first)


@dataclass(frozen=True)
class Log:
    """Counts of blocks of studies, a line of JSON each; without a file, nothing is kept."""

    path: Path | None

    def read(self) -> dict[str, Counts]:
        """Counts by what they are of, of those lines that were written whole."""
        if self.path is None or not self.path.exists():
            return {}
        lines = self.path.read_text().splitlines(keepends=True)
        rows = (json.loads(line) for line in lines if line.endswith("\n"))
        return {row["of"]: Counts(**row["counts"]) for row in rows}

    def add(self, name: str, counts: Counts) -> None:
        """Append the counts of a block."""
        if self.path is not None:
            with self.path.open("a") as file:
                file.write(json.dumps({"of": name, "counts": vars(counts)}) + "\n")


def settings() -> Iterator[Setting]:
    """All rows."""
    for cases, methods, patients in product((1, 3), (2, 6), (20, 60, 200)):
        yield Setting(patients, cases, methods)
    yield from (Setting(patients, 1, 2, FAILURES) for patients in (20, 60, 200))


def row(setting: Setting, counts: Counts) -> str:
    """A row of the table, in percent."""
    shares = [100 * count / counts.studies for count in list(vars(counts).values())[1:]]
    cells = [*vars(setting).values(), *(f"{one:.1f}" for one in shares)]
    return f"| {' | '.join(map(str, cells))} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--studies", type=int, default=2000)
    parser.add_argument("--draws", type=int, default=2000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--log", type=Path, help="file of counts, to go on from")
    arguments = parser.parse_args()
    begun = time.perf_counter()
    log = Log(arguments.log)
    known = log.read()
    print(
        "| patients | cases each | methods | failures "
        "| difference | percentile | BCa | mean | percentile | BCa "
        "| wrong | wrong without patients |"
    )
    print("|---" * 12 + "|")
    with ProcessPoolExecutor(arguments.workers) as pool:
        for setting in settings():
            starts = range(0, arguments.studies, BLOCK)
            blocks = [range(start, min(start + BLOCK, arguments.studies)) for start in starts]
            names = {f"{setting}, {block}, {arguments.draws} draws": block for block in blocks}
            waiting = {
                pool.submit(studies, setting, block, arguments.draws): name
                for name, block in names.items()
                if name not in known
            }
            for future in as_completed(waiting):
                known[waiting[future]] = future.result()
                log.add(waiting[future], future.result())
            print(row(setting, total(known[name] for name in names)), flush=True)
    error = 196 * sqrt(LEVEL * (1 - LEVEL) / arguments.studies)
    print(
        f"\n{arguments.studies} studies per row, {arguments.draws} draws each; a share of 95% is "
        f"known to {error:.1f} points. {time.perf_counter() - begun:.0f} s."
    )


if __name__ == "__main__":
    main()
