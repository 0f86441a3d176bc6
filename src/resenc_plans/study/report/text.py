"""The paragraphs of a report: how methods were compared, what that cannot show, who to cite."""

from collections.abc import Sequence

from resenc_plans.study.comparison import Comparison, DatasetComparison
from resenc_plans.words import counted

CITATIONS = (
    "Efron, B. (1987). Better bootstrap confidence intervals. Journal of the American Statistical "
    "Association 82, 171-185.",
    "Hesterberg, T. C. (2015). What teachers should know about the bootstrap: resampling in the "
    "undergraduate statistics curriculum. The American Statistician 69, 371-386.",
    "Holm, S. (1979). A simple sequentially rejective multiple test procedure. Scandinavian "
    "Journal of Statistics 6, 65-70.",
    "Isensee, F., Wald, T., Ulrich, C., Baumgartner, M., Roy, S., Maier-Hein, K., Jaeger, P. F. "
    "(2024). nnU-Net Revisited: A Call for Rigorous Validation in 3D Medical Image Segmentation. "
    "arXiv 2404.09556.",
    "Maier-Hein, L., et al. (2018). Why rankings of biomedical image analysis competitions should "
    "be interpreted with care. Nature Communications 9, 5217.",
    "Wilcoxon, F. (1945). Individual comparisons by ranking methods. Biometrics Bulletin 1, 80-83.",
)


_NO_DISTANCE = " or, of distances, since one of the two lacks it"


def methods_paragraph(comparison: Comparison) -> str:
    """How the methods were compared, to be pasted into a paper."""
    settings, first = comparison.settings, comparison.datasets[0]
    level = f"{100 * settings.level:g}%"
    metrics = _and([metric.metric.title for metric in first.metrics])
    unit = "cases" if first.patients is None else "patients"
    sentences = [
        f"We compared {len(first.methods)} methods on {_sizes(comparison)} by {metrics}. "
        "The score of a case is the mean over its labels.",
        "Methods were compared on the same cases: "
        + (
            "cases that a method lacks were omitted for all methods"
            if settings.missing == "omit"
            else "cases that a method lacks counted as 0"
        )
        + ", and scores that are not defined, since neither segmentation has the label"
        + ("" if all(one.metric.is_share for one in first.metrics) else _NO_DISTANCE)
        + ", "
        + ("were omitted for all methods." if settings.undefined == "omit" else "counted as 1."),
        f"We report means with {level} percentile bootstrap intervals, expanded for small samples "
        f"(Hesterberg 2015), from {settings.draws:,} draws of {unit} with replacement.",
        "Pairs of methods were tested with the two-sided Wilcoxon signed-rank test (Wilcoxon 1945) "
        f"on {'cases' if first.patients is None else 'the means of patients'}; p values are "
        "adjusted over all pairs of a metric and label after Holm (1979).",
        "The stability of ranks is that of the methods' order over the same draws.",
    ]
    if settings.margin is not None:
        sentences.append(
            f"Methods are called equivalent where the {level} interval of their difference lies "
            f"within ±{settings.margin:g}."
        )
    if comparison.mean_ranks:
        sentences.append(
            "Mean ranks over datasets have intervals from draws within each dataset; the datasets "
            "themselves were not drawn."
        )
    return " ".join(sentences)


def reading(comparison: Comparison) -> list[str]:
    """What the columns of the tables are, as sentences."""
    settings = comparison.settings
    level = f"{100 * settings.level:g}%"
    unit = "cases" if comparison.datasets[0].patients is None else "patients"
    ties = [
        f"{settings.tie_of(one.metric):g}{f' {one.metric.unit}' if one.metric.unit else ''} of "
        f"{one.metric.key}"
        for one in comparison.datasets[0].metrics
    ]
    sentences = [
        f"interval: the {level} bootstrap interval of the mean, or of the difference.",
        f"rank: by the mean; ranks: its {level} interval over the draws; P(first): the share of "
        "draws in which the method is first.",
        "difference: of the means, the first method minus the second. p is of the single pair, "
        "p (Holm) is adjusted over all pairs.",
        "wins/ties/losses: cases in which the first method is better, equal or worse; differences "
        f"up to {_and(ties)} are ties.",
        f"detectable: the smallest difference of means that so many {unit} show with a chance of "
        "80%.",
    ]
    if settings.margin is not None:
        sentences.append(
            f"first is: the verdict on the first method by its interval and the margin of "
            f"{settings.margin:g}: equivalent, not inferior, superior, inferior, or open."
        )
    return sentences


def limits(comparison: Comparison) -> list[str]:
    """What the comparison cannot show, as sentences."""
    settings, first = comparison.settings, comparison.datasets[0]
    sentences = [
        "How much another training of the same method would differ: intervals are about the choice "
        "of cases, not about seeds.",
        "Whether the order holds for other datasets, scanners or hospitals: only cases like these "
        "were drawn.",
        "Whether a difference matters to patients. "
        + (
            "Name a margin that does, to learn which methods are equivalent."
            if settings.margin is None
            else f"The margin of {settings.margin:g} was chosen, not found."
        ),
        "Whether a method was tuned on these cases: choices that were made by looking at them make "
        "its scores too good.",
    ]
    if first.patients is None:
        sentences.append(
            "Whether several cases are of one patient: none were named, so each case counted as "
            "independent. If some are not, intervals are too narrow and p values too small."
        )
    if any(result.model is not None for result in first.results):
        sentences.append(
            "How independent the folds of a cross-validation are: their models share training "
            "cases, which draws of held-out cases do not see."
        )
    return sentences


def _and(names: Sequence[str]) -> str:
    return " and ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)


def _sizes(comparison: Comparison) -> str:
    return " and ".join(_size(dataset) for dataset in comparison.datasets)


def _size(dataset: DatasetComparison) -> str:
    patients = "" if dataset.patients is None else f" of {counted(dataset.patients, 'patient')}"
    name = f" of {dataset.dataset}" if dataset.dataset else ""
    return f"{counted(len(dataset.cases), 'case')}{patients}{name}"
