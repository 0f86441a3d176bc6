"""The selective scan of Mamba (Gu & Dao 2023) in plain torch, with memory for one chunk of states.

For each channel and each of its states, with h[-1] = 0,

    h[t] = exp(delta[t] a) h[t - 1] + delta[t] u[t] b[t]
    y[t] = (sum over the states of h[t] c[t]) + d u[t]

The states of all steps would be too many: 8.6 GB for a sample of 128 cubed voxels with 64 channels
and 16 states. They are computed in chunks of steps. The backward pass has those at the borders of
chunks and computes the others once more. All is in single precision, autocast or not.

To torch the scan is one operator, `resenc_plans::selective_scan`: torch.compile does not unroll its
loop, and a trace without memory does not run it.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from resenc_plans.errors import DeviceError
from resenc_plans.execution.memory import free_memory
from resenc_plans.words import counted

CPU_STEPS, CPU_BLOCK = 128, 16
"""Steps of a chunk on a CPU, and those of a block: blocks of a chunk run side by side, and are
joined. A chunk of this size stays in the cache."""

GPU_STEPS, GPU_BLOCK = 4096, 64
"""The same on a GPU, where a chunk is some two hundred small kernels. Not measured."""

CHECKED_BYTES = 2**26
"""Memory is compared with what is free from this size on."""


def selective_scan(u: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    """The scan of `u`; the names are the paper's, in lower case.

    On a GPU the kernel of the package `mamba_ssm` is taken where it can be imported.

    Parameters
    ----------
    u, delta
        Input and step size, (batch, channels, steps).
    a, d
        Decay, negative, (channels, states); share of the input in the result, (channels,).
    b, c
        Weights into the states and out of them, (batch, states, steps).

    Raises
    ------
    DeviceError
        The device has less memory free than the scan takes; the message has the sum.
    """
    kind = torch.float64 if u.dtype == torch.float64 else torch.float32
    tensors = [tensor.to(kind) for tensor in (u, delta, a, b, c, d)]
    kernel = fused_kernel() if u.is_cuda and kind == torch.float32 else None
    if kernel is not None:
        return kernel(*tensors)
    y: Tensor = _scan(*tensors)[0]
    return y


def fused_kernel() -> Callable[..., Tensor] | None:
    """The scan of the package `mamba_ssm`, of the same arguments; None where it has none."""
    if "kernel" not in _FOUND:
        _FOUND["kernel"] = _import_kernel()
    return _FOUND["kernel"]


_FOUND: dict[str, Callable[..., Tensor] | None] = {}
"""The kernel, once it was looked for: before a network is compiled, since its layers do."""


def _import_kernel() -> Callable[..., Tensor] | None:
    try:
        from mamba_ssm.ops.selective_scan_interface import selective_scan_fn
    except (ImportError, OSError, RuntimeError):
        return None

    def kernel(*tensors: Tensor) -> Tensor:
        with torch.autocast(tensors[0].device.type, enabled=False):
            y: Tensor = selective_scan_fn(*tensors)
        return y

    outside: Callable[..., Tensor] = torch.compiler.disable(kernel)  # type: ignore[no-untyped-call]
    return outside


@torch.library.custom_op("resenc_plans::selective_scan", mutates_args=())
def _scan(
    u: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor
) -> tuple[Tensor, Tensor]:
    """The scan's result, and the states before each chunk, (chunks, batch, states, channels)."""
    steps, block = _chunk(u.device)
    _require_memory(u, b, maps=1)
    y, borders = _empty_results(u, b)
    rates, state = a.t().contiguous(), torch.zeros_like(borders[0])
    for chunk in range(len(borders)):
        borders[chunk] = state
        u_, delta_, b_, c_ = (
            _part(tensor, chunk, steps).contiguous() for tensor in (u, delta, b, c)
        )
        h = _recur(_decay(delta_, rates), _driven(u_, delta_, b_), state, block)
        _part(y, chunk, steps).copy_((h * c_.unsqueeze(3)).sum(2).addcmul_(u_, d))
        state = h[-1]
    return y, borders


@_scan.register_fake
def _(*inputs: Tensor) -> tuple[Tensor, Tensor]:
    u, _, _, b, _, _ = inputs
    return _empty_results(u, b)


@torch.library.custom_op("resenc_plans::selective_scan_backward", mutates_args=())
def _scan_backward(
    g: Tensor,
    u: Tensor,
    delta: Tensor,
    a: Tensor,
    b: Tensor,
    c: Tensor,
    d: Tensor,
    borders: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of the six inputs, `g` being that of the result; the last chunk comes first.

    With `p` the gradient of the states, p[t] = g[t] c[t] + exp(delta[t + 1] a) p[t + 1].
    """
    steps, block = _chunk(u.device)
    _require_memory(u, b, maps=2)
    du, ddelta, _, db, dc, _ = _empty_gradients(u, delta, a, b, c, d)
    rates = a.t().contiguous()
    da, dd, behind = torch.zeros_like(rates), torch.zeros_like(d), torch.zeros_like(borders[0])
    for chunk in reversed(range(len(borders))):
        g_, u_, delta_, b_, c_ = (
            _part(tensor, chunk, steps).contiguous() for tensor in (g, u, delta, b, c)
        )
        decay, before = _decay(delta_, rates), borders[chunk]
        h = _recur(decay, _driven(u_, delta_, b_), before, block)
        _part(dc, chunk, steps).copy_((h * g_.unsqueeze(2)).sum(3))
        ahead = torch.cat((decay[1:], torch.ones_like(decay[:1])))
        p = _recur(ahead, g_.unsqueeze(2) * c_.unsqueeze(3), behind, block, backwards=True)
        behind = decay[0] * p[0]
        w = (p * b_.unsqueeze(3)).sum(2)
        _part(db, chunk, steps).copy_((p * (delta_ * u_).unsqueeze(2)).sum(3))
        _part(du, chunk, steps).copy_((w * delta_).addcmul_(g_, d))
        dd += (g_ * u_).sum((0, 1))
        q = p.mul_(decay)
        q[0] *= before
        q[1:] *= h[:-1]
        _part(ddelta, chunk, steps).copy_((q * rates).sum(2).addcmul_(w, u_))
        da += q.mul_(delta_.unsqueeze(2)).sum((0, 1))
    return du, ddelta, da.t().contiguous(), db, dc, dd


@_scan_backward.register_fake
def _(*inputs: Tensor) -> tuple[Tensor, ...]:
    return _empty_gradients(*inputs[1:7])


def _keep(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*inputs, output[1])


def _gradients(ctx: Any, g: Tensor, _: Tensor) -> tuple[Tensor, ...]:
    result: tuple[Tensor, ...] = _scan_backward(g, *ctx.saved_tensors)
    return result


_scan.register_autograd(_gradients, setup_context=_keep)


def _chunk(device: torch.device) -> tuple[int, int]:
    """Steps of a chunk, and those of its blocks."""
    return (GPU_STEPS, GPU_BLOCK) if device.type == "cuda" else (CPU_STEPS, CPU_BLOCK)


def _empty_results(u: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    chunks = -(-u.shape[2] // _chunk(u.device)[0])
    return u.new_empty(u.shape), u.new_empty((chunks, len(u), b.shape[1], u.shape[1]))


def _empty_gradients(*inputs: Tensor) -> tuple[Tensor, ...]:
    return tuple(tensor.new_empty(tensor.shape) for tensor in inputs)


def _part(tensor: Tensor, chunk: int, steps: int) -> Tensor:
    """A chunk of (batch, features, time), as (time, batch, features)."""
    return tensor[:, :, chunk * steps : (chunk + 1) * steps].permute(2, 0, 1)


def _decay(delta: Tensor, rates: Tensor) -> Tensor:
    """What is left of each state after a step, (time, batch, states, channels)."""
    return (delta.unsqueeze(2) * rates).exp_()


def _driven(u: Tensor, delta: Tensor, b: Tensor) -> Tensor:
    """What each step adds to each state, (time, batch, states, channels)."""
    return (delta * u).unsqueeze(2) * b.unsqueeze(3)


def _recur(
    decay: Tensor, x: Tensor, state: Tensor, block: int, *, backwards: bool = False
) -> Tensor:
    """The states after each step: h[t] = decay[t] h[t - 1] + x[t], in place of `x`.

    Blocks of steps run side by side, from zero, and take what the ones before them leave
    afterwards. `backwards`, time runs from the last step to the first.
    """
    whole = len(x) - len(x) % block
    pieces = [slice(0, whole), slice(whole, len(x))]
    for piece in reversed(pieces) if backwards else pieces:
        if piece.start < piece.stop:
            state = _recur_in_blocks(
                decay[piece], x[piece], state, min(block, len(x[piece])), backwards=backwards
            )
    return x


def _recur_in_blocks(
    decay: Tensor, x: Tensor, state: Tensor, block: int, *, backwards: bool
) -> Tensor:
    """As `_recur`, for whole blocks only; the last state."""
    order = -1 if backwards else 1
    blocks = len(x) // block
    inner = (blocks, block, *x.shape[1:])
    xs, decays = (tensor.view(inner).unbind(1)[::order] for tensor in (x, decay))
    if blocks == 1:
        h = state
        for x_, decay_ in zip(xs, decays, strict=True):
            h = torch.addcmul(x_, decay_, h, out=x_)
        return h[0]
    products = decay.view(inner).clone()
    shares = products.unbind(1)[::order]
    for step in range(1, block):
        torch.addcmul(xs[step], decays[step], xs[step - 1], out=xs[step])
        shares[step].mul_(shares[step - 1])
    befores = [state]
    for left, share in zip(xs[-1].unbind(0)[::order], shares[-1].unbind(0)[::order], strict=True):
        befores.append(torch.addcmul(left, share, befores[-1]))
    x.view(inner).addcmul_(products, torch.stack(befores[:-1][::order]).unsqueeze(1))
    return befores[-1]


def _require_memory(u: Tensor, b: Tensor, *, maps: int) -> None:
    """Refuse a scan for which so many further tensors like `u` and `b` do not fit into memory."""
    needed = maps * (u.numel() + (maps - 1) * b.numel()) * u.element_size()
    if needed < CHECKED_BYTES:
        return
    if u.is_cuda:
        free = torch.cuda.mem_get_info(u.device)[0]
        free += torch.cuda.memory_reserved(u.device) - torch.cuda.memory_allocated(u.device)
    else:
        free_on_cpu = free_memory()
        free = needed if free_on_cpu is None else free_on_cpu
    if needed > free:
        raise DeviceError(
            f"a selective scan over {u.shape[2]:,} voxels, with {counted(u.shape[1], 'channel')} "
            f"and a batch of {len(u)}, takes {needed / 1e9:.1f} GB more, but {free / 1e9:.1f} GB "
            f"are free on {u.device}. Use a smaller patch or batch, or a device with more memory."
        )
