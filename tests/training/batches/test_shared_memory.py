import pytest

from resenc_plans.errors import WorkerError
from resenc_plans.training.batches import shared_memory
from resenc_plans.training.batches.shared_memory import LoaderDemand, batches_ahead

MIB = 2**20


def with_free(monkeypatch: pytest.MonkeyPatch, size: int | None) -> None:
    monkeypatch.setattr(shared_memory, "free_shared_memory", lambda: size)


def test_three_batches_are_made_ahead_where_there_is_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    demands = [LoaderDemand(4, MIB), LoaderDemand(2, MIB)]
    with_free(monkeypatch, 20 * MIB)  # 4 * 3 + 1 + 2 * 3 + 1
    assert batches_ahead(demands) == [3, 3]
    with_free(monkeypatch, None)
    assert batches_ahead(demands) == [3, 3]


def test_fewer_batches_are_made_ahead_of_a_small_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    demands = [LoaderDemand(4, MIB), LoaderDemand(2, MIB)]
    with_free(monkeypatch, 20 * MIB - 1)
    assert batches_ahead(demands) == [2, 2]
    with_free(monkeypatch, 20 * MIB)
    assert batches_ahead(demands, processes=2) == [1, 1]


def test_large_batches_are_counted_by_their_bytes() -> None:
    assert LoaderDemand(12, 650 * MIB).ahead == 1
    assert LoaderDemand(2, 400 * MIB).ahead == 2


def test_too_little_memory_is_said_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    with_free(monkeypatch, 64 * MIB)
    with pytest.raises(
        WorkerError, match=r"has 64\.0 MiB free.*need 338\.0 MiB.*--shm-size"
    ) as info:
        batches_ahead([LoaderDemand(12, 26 * MIB)])
    assert "`workers=0`" in str(info.value)
    assert batches_ahead([LoaderDemand(0, 26 * MIB)]) == [3]
