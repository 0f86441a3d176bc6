import logging
import threading
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from operator import attrgetter
from typing import Any

import pytest

from resenc_plans.errors import DatasetError, WorkerError, WorkerStartError
from resenc_plans.execution.cases import (
    MAX_AT_ONCE,
    CaseProblem,
    as_cases_complete,
    each_case,
    separate,
    together,
)


@dataclass(frozen=True)
class Case:
    name: str


CASES = [Case(name) for name in "abcd"]


def capital(case: Case) -> str:
    if case.name == "b":
        raise DatasetError("b is damaged")
    if case.name == "c":
        raise ZeroDivisionError("oh")
    return case.name.upper()


RESULTS = ["A", CaseProblem("b", "b is damaged"), CaseProblem("c", "ZeroDivisionError: oh"), "D"]


def test_results_are_in_the_order_of_the_cases_and_problems_stop_nothing() -> None:
    assert each_case(capital, CASES, name=attrgetter("name")) == RESULTS


def test_names_need_no_function() -> None:
    assert each_case(int, ["1", "x"], workers=1)[0] == 1
    assert "invalid literal" in str(each_case(int, ["x"])[0])


def test_results_and_problems_are_separated() -> None:
    results, problems = separate(each_case(capital, CASES, name=attrgetter("name")))
    assert results == ("A", "D")
    assert [str(problem) for problem in problems] == [
        "b: b is damaged",
        "c: ZeroDivisionError: oh",
    ]


def test_tracebacks_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "resenc_plans"):
        each_case(capital, CASES, name=attrgetter("name"))
    assert "ZeroDivisionError: oh" in caplog.text
    assert "in capital" in caplog.text


def test_any_executor_does() -> None:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert each_case(capital, CASES[:1], executor=pool) == ["A"]


def test_each_case_is_announced_once_and_here() -> None:
    announced = []

    def announce(name: str) -> None:
        announced.append((name, threading.current_thread()))

    each_case(capital, CASES, name=attrgetter("name"), workers=2, on_case=announce)
    assert sorted(name for name, _ in announced) == list("abcd")
    assert {thread for _, thread in announced} == {threading.main_thread()}


def test_a_dead_worker_is_reported_for_every_case_that_it_cost() -> None:
    class Broken(ThreadPoolExecutor):
        def submit(self, *_: Any, **__: Any) -> Future[Any]:
            raise BrokenProcessPool

    problems = separate(each_case(capital, CASES, executor=Broken(1)))[1]
    assert len(problems) == 4
    assert all("memory" in problem.reason for problem in problems)


@pytest.mark.parametrize("loss", [WorkerError("killed"), MemoryError(), BrokenProcessPool()])
def test_a_lost_case_is_tried_once_more_after_all_others(loss: Exception) -> None:
    calls: list[str] = []

    def work(case: Case) -> str:
        calls.append(case.name)
        if case.name == "b" and calls.count("b") == 1:
            raise loss
        return case.name

    with ThreadPoolExecutor(1) as pool:
        outcomes = list(as_cases_complete(work, CASES, pool, retry_lost=True))
    assert calls == [*"abcd", "b"]
    assert [outcome.will_be_retried for outcome in outcomes].count(True) == 1
    assert (outcomes[-1].index, outcomes[-1].result) == (1, "b")


def test_workers_that_cannot_start_end_everything() -> None:
    def work(_: Case) -> None:
        raise WorkerStartError("no worker")

    with pytest.raises(WorkerStartError):
        each_case(work, CASES)


def test_an_interrupt_drops_the_cases_that_have_not_begun() -> None:
    begun: list[str] = []

    def work(case: Case) -> None:
        begun.append(case.name)
        if len(begun) > 1:
            threading.Event().wait(0.1)

    def interrupt(_: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        each_case(work, CASES * 50, workers=1, on_case=interrupt)
    assert len(begun) < 5


def test_any_number_of_cases_is_handed_out_a_part_at_a_time() -> None:
    executor = _Counting()
    outcomes = as_cases_complete(abs, range(3 * MAX_AT_ONCE), executor)
    seen = {outcome.index for outcome in outcomes}
    assert seen == set(range(3 * MAX_AT_ONCE))
    assert executor.most == MAX_AT_ONCE


class _Counting(Executor):
    """Works when the last of the cases it may have has come; counts those that wait."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Future[int], int]] = []
        self.most = 0

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[int] = Future()
        assert not kwargs
        self.waiting.append((future, args[0]))
        self.most = max(self.most, len(self.waiting))
        if len(self.waiting) == MAX_AT_ONCE:
            while self.waiting:
                done, value = self.waiting.pop()
                done.set_result(fn(value))
        return future


def test_many_problems_of_one_kind_are_one_and_few_stay_as_they_are() -> None:
    many = [CaseProblem(f"case_{n}", f"/x/case_{n}_0000.nii.gz: is empty.") for n in range(60)]
    few = [CaseProblem(f"other_{n}", "is damaged.") for n in range(3)]
    merged = together([*few, *many])
    assert merged[:3] == few
    assert merged[3:] == [
        CaseProblem("case_0, case_1, case_2 and 57 more", "/x/CASE_0000.nii.gz: is empty.")
    ]
