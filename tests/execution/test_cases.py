import threading
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from resenc_plans.datasets.dataset import Case
from resenc_plans.errors import DatasetError
from resenc_plans.execution import cases
from resenc_plans.execution.cases import CaseFailure, run_cases, usable_cpus

CASES = [Case(name, (), Path(name)) for name in "abcd"]


def _name(case: Case) -> str:
    if case.name == "b":
        raise DatasetError("b is damaged")
    if case.name == "c":
        raise ZeroDivisionError("oh")
    return case.name.upper()


def test_results_are_in_the_order_of_the_cases_and_faults_hide_nothing() -> None:
    assert run_cases(_name, CASES) == [
        "A",
        CaseFailure(CASES[1], "b is damaged"),
        CaseFailure(CASES[2], "ZeroDivisionError: oh"),
        "D",
    ]


def test_any_executor_does() -> None:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert run_cases(_name, CASES[:1], pool) == ["A"]


def test_each_case_is_announced_once_and_here() -> None:
    announced = []
    with ThreadPoolExecutor(2) as pool:
        run_cases(
            _name, CASES, pool, lambda name: announced.append((name, threading.current_thread()))
        )
    assert sorted(name for name, _ in announced) == list("abcd")
    assert {thread for _, thread in announced} == {threading.main_thread()}


def test_a_dead_worker_is_told_for_every_case_that_it_cost() -> None:
    class Broken(ThreadPoolExecutor):
        def submit(self, *_: Any, **__: Any) -> Future[Any]:
            raise BrokenProcessPool

    failures = run_cases(_name, CASES, Broken(1))
    assert all(isinstance(f, CaseFailure) and "memory" in f.reason for f in failures)


def test_an_interrupt_drops_the_cases_that_have_not_begun() -> None:
    begun: list[str] = []

    def work(case: Case) -> None:
        begun.append(case.name)
        if len(begun) > 1:
            threading.Event().wait(0.1)

    def interrupt(_: str) -> None:
        raise KeyboardInterrupt

    with ThreadPoolExecutor(1) as pool, pytest.raises(KeyboardInterrupt):
        run_cases(work, CASES * 50, pool, interrupt)
    assert len(begun) < 5


def test_there_is_at_least_one_cpu() -> None:
    assert usable_cpus() >= 1


def test_a_container_s_quota_counts_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cases, "cpu_quota", lambda: 0.5)
    assert usable_cpus() == 1
