"""Batches that are on their device before they are asked for."""

import gc
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext

import pytest
import torch
from torch import Tensor

from resenc_plans.errors import FileError
from resenc_plans.training.batches.prefetch import prefetched
from resenc_plans.training.batches.source import Batch

CPU = torch.device("cpu")


def numbered(taken: list[int], *, fails_at: int | None = None) -> Iterator[Batch]:
    for number in range(10):
        if number == fails_at:
            raise FileError("a case is damaged")
        taken.append(number)
        yield Batch(torch.full((1,), float(number)), torch.zeros(1), (str(number),))


def test_batches_come_in_order_and_one_is_made_ahead() -> None:
    taken: list[int] = []
    stream = prefetched(numbered(taken), CPU)
    first = next(stream)
    assert first.cases == ("0",)
    assert [batch.images.item() for batch in stream] == list(range(1, 10))
    assert taken == list(range(10))


def test_a_fault_reaches_who_asks_for_the_batch() -> None:
    stream = prefetched(numbered([], fails_at=2), CPU)
    assert [next(stream).cases, next(stream).cases] == [("0",), ("1",)]
    with pytest.raises(FileError, match="damaged"):
        next(stream)


def test_the_thread_ends_with_the_stream() -> None:
    taken: list[int] = []
    before = threading.active_count()
    source = numbered(taken)
    stream = prefetched(source, CPU)
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before
    assert len(taken) <= 4
    assert source.gi_frame is None  # type: ignore[attr-defined]


def test_a_fault_that_was_handled_holds_no_batches() -> None:
    source = numbered([], fails_at=1)
    stream = prefetched(source, CPU)
    next(stream)
    gc.disable()
    try:
        with pytest.raises(FileError) as caught:
            next(stream)
        fault = weakref.ref(caught.value)
        del caught, stream, source
        assert fault() is None
    finally:
        gc.enable()


def test_the_thread_may_be_the_one_that_ends_the_stream() -> None:
    """A collection of garbage in it does so, where the stream is part of a circle."""
    holder: list[Iterator[Batch]] = []
    ended = threading.Event()

    def source() -> Iterator[Batch]:
        yield from numbered([], fails_at=1)

    def ends_it() -> Iterator[Batch]:
        yield next(source())
        while not holder:
            time.sleep(0.01)
        holder.pop().close()  # type: ignore[attr-defined]
        ended.set()

    stream = prefetched(ends_it(), CPU)
    assert next(stream).cases == ("0",)
    holder.append(stream)
    del stream
    assert ended.wait(10)


class PretendedStream:
    """Tells which copies an event follows, and what waits for it."""

    def __init__(self) -> None:
        self.copies = 0
        self.told: list[tuple[str, object]] = []

    def record_event(self) -> int:
        return self.copies

    def wait_event(self, event: int) -> None:
        self.told.append(("waits for copy", event))


def test_memory_of_a_gpu_is_not_used_again_before_who_uses_it_has_done(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    side, current = PretendedStream(), PretendedStream()
    entered: list[tuple[str, object]] = []

    def enter(stream: object) -> AbstractContextManager[None]:
        entered.append((threading.current_thread().name, stream))
        return nullcontext()

    def copy(tensor: Tensor, device: torch.device, *, non_blocking: bool) -> Tensor:
        assert device.type == "cuda"
        assert non_blocking
        side.copies += 1
        return tensor

    monkeypatch.setattr(torch.cuda, "Stream", lambda _: side)
    monkeypatch.setattr(torch.cuda, "stream", enter)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: entered.append(("on", device)))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: current)
    monkeypatch.setattr(Tensor, "to", copy)
    monkeypatch.setattr(
        Tensor, "record_stream", lambda tensor, stream: stream.told.append(("used by", id(tensor)))
    )
    gpu = torch.device("cuda", 1)
    stream = prefetched(numbered([]), gpu)
    batch = next(stream)
    used = [("used by", id(tensor)) for tensor in (batch.images, batch.target)]
    assert current.told == [("waits for copy", 2), *used]
    assert entered == [("on", gpu), ("prefetch", side)]
    stream.close()  # type: ignore[attr-defined]
