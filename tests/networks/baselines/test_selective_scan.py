"""The scan in chunks against its definition, step by step and state by state in Python."""

import sys
from math import exp
from types import ModuleType

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from resenc_plans.errors import DeviceError
from resenc_plans.networks.baselines import selective_scan as scan
from resenc_plans.networks.baselines.selective_scan import selective_scan

CHUNKS = [(100, 100), (7, 7), (4, 2), (6, 4), (5, 2), (3, 3)]
"""Steps of a chunk and of a block, for sequences of 13 steps: whole, in parts, with remainders."""


def inputs(steps: int = 13, kind: torch.dtype = torch.float64) -> list[Tensor]:
    """Batch 2, channels 3, states 2."""
    torch.manual_seed(0)
    sizes = [(2, 3, steps), (2, 3, steps), (3, 2), (2, 2, steps), (2, 2, steps), (3,)]
    tensors = [torch.randn(size, dtype=torch.float64) for size in sizes]
    tensors[1] = tensors[1].abs()
    tensors[2] = -tensors[2].abs()
    return [tensor.to(kind).requires_grad_() for tensor in tensors]


def by_definition(u: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    """Numbers of Python only."""
    u, delta, a, b, c, d = (tensor.detach() for tensor in (u, delta, a, b, c, d))
    result = torch.zeros(u.shape, dtype=torch.float64)
    for sample in range(u.shape[0]):
        for channel in range(u.shape[1]):
            states = [0.0] * a.shape[1]
            for t in range(u.shape[2]):
                at = (sample, channel, t)
                y = float(d[channel] * u[at])
                for n in range(a.shape[1]):
                    left = exp(float(delta[at]) * float(a[channel, n])) * states[n]
                    states[n] = left + float(delta[at]) * float(u[at]) * float(b[sample, n, t])
                    y += states[n] * float(c[sample, n, t])
                result[at] = y
    return result


def in_chunks(monkeypatch: pytest.MonkeyPatch, steps: int, block: int) -> None:
    monkeypatch.setattr(scan, "CPU_STEPS", steps)
    monkeypatch.setattr(scan, "CPU_BLOCK", block)


@pytest.mark.parametrize(("steps", "block"), CHUNKS)
def test_chunks_give_what_the_definition_gives(
    monkeypatch: pytest.MonkeyPatch, steps: int, block: int
) -> None:
    in_chunks(monkeypatch, steps, block)
    tensors = inputs()
    expected = by_definition(*tensors)
    assert torch.allclose(selective_scan(*tensors), expected, rtol=1e-12, atol=1e-12)
    single = selective_scan(*inputs(kind=torch.float32))
    assert single.dtype == torch.float32
    assert torch.allclose(single.double(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("steps", "block"), CHUNKS)
def test_gradients_are_those_of_the_function(
    monkeypatch: pytest.MonkeyPatch, steps: int, block: int
) -> None:
    in_chunks(monkeypatch, steps, block)
    assert torch.autograd.gradcheck(selective_scan, inputs())


def test_sequences_of_any_length_and_strides_are_taken() -> None:
    for steps in (1, 2, 127, 128, 129, 300):
        u, delta, a, b, c, d = inputs(steps)
        expected = selective_scan(u, delta, a, b, c, d)
        assert torch.allclose(expected, by_definition(u, delta, a, b, c, d))
        u_, delta_, b_, c_ = [
            t.detach().transpose(1, 2).contiguous().transpose(1, 2) for t in (u, delta, b, c)
        ]
        assert torch.equal(selective_scan(u_, delta_, a, b_, c_, d), expected)


def test_states_that_decay_to_nothing_stay_finite() -> None:
    u, delta, a, b, c, d = inputs(300, torch.float32)
    y = selective_scan(u, 1e5 + delta, a - 1, b, c, d)
    at_once = (1e5 + delta) * u * (b * c).sum(1, keepdim=True) + d[:, None] * u
    assert torch.allclose(y, at_once, rtol=1e-4, atol=0.1)
    y.sum().backward()
    assert all(t.grad.isfinite().all() for t in (u, delta, a, b, c, d))


def test_half_precision_is_scanned_in_single_with_autocast_too() -> None:
    halves = [tensor.detach().bfloat16() for tensor in inputs()]
    expected = selective_scan(*(tensor.float() for tensor in halves))
    with torch.autocast("cpu", torch.bfloat16):
        y = selective_scan(*halves)
    assert y.dtype == torch.float32
    assert torch.equal(y, expected)


def test_nothing_as_long_as_the_states_of_all_steps_is_kept() -> None:
    kept: list[Tensor] = []
    tensors = inputs(1024)

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        selective_scan(*tensors)
    states = 2 * 3 * 2 * 1024
    assert sum(t.numel() for t in kept) == sum(t.numel() for t in tensors) + states // 128


def test_a_trace_without_memory_does_not_run_the_loop() -> None:
    steps = 128**3
    with FakeTensorMode():
        u, delta = (torch.empty(2, 64, steps, requires_grad=True) for _ in range(2))
        b, c = (torch.empty(2, 16, steps) for _ in range(2))
        y = selective_scan(u, delta, torch.empty(64, 16), b, c, torch.empty(64))
        y.sum().backward()
    assert y.shape == u.grad.shape == (2, 64, steps)


@pytest.mark.slow
def test_a_compiler_takes_the_scan_as_one_operator() -> None:
    def gated(*tensors: Tensor) -> Tensor:
        return selective_scan(*tensors) * 2

    graphs: list[torch.fx.GraphModule] = []

    def look(graph: torch.fx.GraphModule, _: object) -> torch.fx.GraphModule:
        graphs.append(graph)
        return graph

    compiled = torch.compile(gated, backend=look, fullgraph=True)
    assert torch.equal(compiled(*inputs()), gated(*inputs()))
    assert len(graphs) == 1


def test_a_scan_that_does_not_fit_into_memory_is_refused_with_the_sum(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(scan, "CHECKED_BYTES", 0)
    monkeypatch.setattr(scan, "free_memory", lambda: 10**3)
    with pytest.raises(DeviceError, match=r"over 1,000 voxels, with 3 channels .* takes 0\.0 GB"):
        selective_scan(*inputs(1000))
    monkeypatch.setattr(scan, "free_memory", lambda: 10**6)
    tensors = inputs(1000)
    y = selective_scan(*tensors)
    monkeypatch.setattr(scan, "free_memory", lambda: 10**3)
    with pytest.raises(DeviceError, match="Use a smaller patch or batch"):
        y.sum().backward()


def test_the_kernel_of_mamba_ssm_is_found_where_it_can_be_imported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(scan, "_FOUND", {})
    name = "mamba_ssm.ops.selective_scan_interface"
    for module in ("mamba_ssm", "mamba_ssm.ops", name):
        monkeypatch.setitem(sys.modules, module, None)
    assert scan.fused_kernel() is None
    monkeypatch.setattr(scan, "_FOUND", {})
    fake = ModuleType(name)
    fake.selective_scan_fn = lambda *tensors: tensors[0] + 1  # type: ignore[attr-defined]
    for module in ("mamba_ssm", "mamba_ssm.ops", name):
        monkeypatch.setitem(sys.modules, module, fake)
    kernel = scan.fused_kernel()
    assert kernel is not None
    tensors = inputs()
    assert torch.equal(kernel(*tensors), tensors[0] + 1)
