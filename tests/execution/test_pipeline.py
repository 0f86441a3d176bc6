import zlib
from typing import Any

from resenc_plans.execution.cases import CaseProblem
from resenc_plans.execution.pipeline import Pipeline


def test_whatever_a_case_raises_the_others_are_done() -> None:
    faults = {"a": IndexError("x"), "b": zlib.error("x"), "c": EOFError("x"), "d": MemoryError()}

    def stage(*names: Any) -> Any:
        def work(case: Any, *_: object) -> Any:
            if case in names:
                raise faults[case]
            return case

        return work

    outcomes = dict(Pipeline(stage("a"), stage("b", "d"), stage("c")).run("abcde"))
    assert outcomes == {
        "a": CaseProblem("a", "IndexError: x"),
        "b": CaseProblem("b", "error: x"),
        "c": CaseProblem("c", "EOFError: x"),
        "d": CaseProblem("d", "There is not enough memory for it."),
        "e": None,
    }
