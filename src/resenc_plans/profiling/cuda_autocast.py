"""CUDA's rules of automatic mixed precision, on the CPU.

Which operators run in half precision and which in single decides what a training step on a GPU
holds in memory. torch applies CUDA's rules to CUDA tensors only; here they are registered for CPU
tensors while a block runs, with the cache of cast weights that torch keeps on CUDA. The tables are
those of `ATen/autocast_mode.h`. No plainer way comes within 10 % of the memory: torch's autocast
for CPUs is up to 51 % too low, single precision up to 93 % too high (docs/benchmarks.md).
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch._C import DispatchKey, DispatchKeySet, _ExcludeDispatchKeyGuard
from torch._ops import OpOverload
from torch.library import Library, fallthrough_kernel
from torch.utils._pytree import tree_map_only

LOWER_PRECISION = (
    "_convolution",
    "_convolution.deprecated",
    "_scaled_dot_product_flash_attention",
    "_thnn_fused_gru_cell",
    "_thnn_fused_lstm_cell",
    "addbmm",
    "addmm",
    "addmv",
    "addr",
    "baddbmm",
    "bmm",
    "chain_matmul",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_tbc",
    "conv_transpose1d",
    "conv_transpose2d.input",
    "conv_transpose3d.input",
    "convolution",
    "einsum",
    "gru_cell",
    "linalg_multi_dot",
    "linalg_vecdot",
    "linear",
    "lstm_cell",
    "matmul",
    "mm",
    "mv",
    "prelu",
    "rnn_relu_cell",
    "rnn_tanh_cell",
    "scaled_dot_product_attention",
)
"""Operators whose tensors are cast to half precision."""

SINGLE_PRECISION = (
    "_upsample_bicubic2d_aa",
    "_upsample_bilinear2d_aa",
    "_upsample_nearest_exact1d",
    "_upsample_nearest_exact2d",
    "_upsample_nearest_exact3d",
    "acos",
    "asin",
    "binary_cross_entropy_with_logits",
    "cdist",
    "cosh",
    "cosine_embedding_loss",
    "cosine_similarity",
    "dist",
    "erfinv",
    "exp",
    "expm1",
    "frobenius_norm.dim",
    "group_norm",
    "hinge_embedding_loss",
    "huber_loss",
    "kl_div",
    "l1_loss",
    "layer_norm",
    "log",
    "log10",
    "log1p",
    "log2",
    "logsumexp",
    "margin_ranking_loss",
    "mse_loss",
    "multi_margin_loss",
    "multilabel_margin_loss",
    "native_layer_norm",
    "nll_loss",
    "nll_loss2d",
    "nuclear_norm",
    "nuclear_norm.dim",
    "pdist",
    "poisson_nll_loss",
    "pow.Scalar",
    "pow.Tensor_Scalar",
    "pow.Tensor_Tensor",
    "reciprocal",
    "renorm",
    "rms_norm",
    "rsqrt",
    "sinh",
    "smooth_l1_loss",
    "soft_margin_loss",
    "softplus",
    "tan",
    "triplet_margin_loss",
    "upsample_bicubic2d",
    "upsample_bilinear2d",
    "upsample_linear1d",
    "upsample_nearest1d",
    "upsample_nearest2d",
    "upsample_nearest3d",
    "upsample_trilinear3d",
)
"""Operators whose tensors are cast to single precision."""

SINGLE_PRECISION_RESULT = (
    "cumprod",
    "cumsum",
    "linalg_matrix_norm",
    "linalg_matrix_norm.str_ord",
    "linalg_vector_norm",
    "log_softmax.int",
    "prod",
    "prod.dim_int",
    "softmax.int",
    "sum",
    "sum.dim_IntList",
)
"""Operators that take their tensors as they are and put out single precision, unless told."""

WIDEST_PRECISION = (
    "addcdiv",
    "addcmul",
    "atan2",
    "bilinear",
    "cross",
    "dot",
    "grid_sampler",
    "index_put",
    "scatter_add",
    "tensordot",
    "vdot",
)
"""Operators whose tensors are cast to the widest precision among them."""

_KEY = "AutocastCPU"


@dataclass
class _WeightCache:
    """Half-precision copies of parameters, kept while a block of autocast runs."""

    is_active: bool = False
    copies: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)


@contextmanager
def cuda_autocast() -> Iterator[None]:
    """Run operators on CPU tensors, fake or real, in the precision that CUDA's autocast gives them.

    While the block runs, this holds for all threads of the process that use autocast on the CPU.
    `norm` alone is excluded: it runs in the precision of its tensor.
    """
    with cuda_rules() as autocast, autocast():
        yield


@contextmanager
def cuda_rules() -> Iterator[Callable[[], AbstractContextManager[None]]]:
    """Let CUDA's rules hold wherever autocast on the CPU is on; puts out what turns it on.

    A backward pass that calculates blocks a second time turns it on again by itself, so it has to
    be within the block, too.
    """
    library = Library("aten", "IMPL")  # type: ignore[no-untyped-call]
    cache = _WeightCache()
    untouched = dict.fromkeys(_names_on_the_cpu(), fallthrough_kernel)
    kernels = untouched | _kernels(cache)

    @contextmanager
    def autocast() -> Iterator[None]:
        cache.is_active = True
        try:
            with torch.autocast("cpu", dtype=torch.float16):
                yield
        finally:
            cache.is_active = False
            cache.copies.clear()

    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Warning only once for all operators")
            for name, kernel in kernels.items():
                library.impl(name, kernel, _KEY)  # type: ignore[no-untyped-call]
        yield autocast
    finally:
        library._destroy()  # type: ignore[no-untyped-call]


def _kernels(cache: _WeightCache) -> dict[str, Callable[..., Any]]:
    """A kernel per operator."""

    def to_half(arguments: Any) -> Any:
        return tree_map_only(Tensor, lambda tensor: _cast_weight(tensor, cache), arguments)

    def to_single(arguments: Any) -> Any:
        return tree_map_only(Tensor, lambda tensor: _cast(tensor, torch.float32), arguments)

    casts: dict[tuple[str, ...], Callable[[Any], Any]] = {
        LOWER_PRECISION: to_half,
        SINGLE_PRECISION: to_single,
        WIDEST_PRECISION: _to_widest,
    }
    kernels = {
        name: _casting(_overload(name), cast) for names, cast in casts.items() for name in names
    }
    return kernels | {name: _single_result(_overload(name)) for name in SINGLE_PRECISION_RESULT}


def _names_on_the_cpu() -> list[str]:
    """The operators for which the CPU's autocast has rules of its own."""
    registered = torch._C._dispatch_get_registrations_for_dispatch_key(_KEY)
    return [name.removeprefix("aten::") for name in registered if name.startswith("aten::")]


def _casting(operator: OpOverload, cast: Callable[[Any], Any]) -> Callable[..., Any]:
    def kernel(*arguments: Any, **keywords: Any) -> Any:
        with _ExcludeDispatchKeyGuard(DispatchKeySet(DispatchKey.AutocastCPU)):
            cast_arguments, cast_keywords = cast((arguments, keywords))
            return operator(*cast_arguments, **cast_keywords)

    return kernel


def _single_result(operator: OpOverload) -> Callable[..., Any]:
    names = [argument.name for argument in operator._schema.arguments]
    keyword_only = operator._schema.arguments[names.index("dtype")].kwarg_only

    def kernel(*arguments: Any, **keywords: Any) -> Any:
        with _ExcludeDispatchKeyGuard(DispatchKeySet(DispatchKey.AutocastCPU)):
            if _is_eligible(arguments[0]):
                values = dict(zip(names, arguments, strict=False)) | keywords
                if values.get("dtype") is None:
                    values["dtype"] = torch.float32
                first = [name for name in names if name in values]
                if keyword_only:
                    first.remove("dtype")
                    return operator(*(values[n] for n in first), dtype=values["dtype"])
                return operator(*(values[name] for name in first))
            return operator(*arguments, **keywords)

    return kernel


def _to_widest(arguments: Any) -> Any:
    widest = torch.float16

    def widen(tensor: Tensor) -> Tensor:
        nonlocal widest
        if _is_eligible(tensor) and tensor.dtype == torch.float32:
            widest = torch.float32
        return tensor

    tree_map_only(Tensor, widen, arguments)
    return tree_map_only(Tensor, lambda tensor: _cast(tensor, widest), arguments)


def _cast_weight(tensor: Tensor, cache: _WeightCache) -> Tensor:
    """Cast to half precision; a parameter only once in a block, as CUDA's autocast caches it."""
    if not _is_eligible(tensor) or tensor.dtype == torch.float16:
        return tensor
    is_weight = tensor.requires_grad and tensor.is_leaf and tensor.dtype == torch.float32
    if not (is_weight and cache.is_active):
        return _cast(tensor, torch.float16)
    if id(tensor) not in cache.copies:
        cache.copies[id(tensor)] = tensor, _cast(tensor, torch.float16)
    return cache.copies[id(tensor)][1]


def _cast(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    return tensor.to(dtype) if _is_eligible(tensor) and tensor.dtype != dtype else tensor


def _is_eligible(tensor: Any) -> bool:
    return (
        isinstance(tensor, Tensor)
        and tensor.device.type == "cpu"
        and tensor.is_floating_point()
        and tensor.dtype != torch.float64
    )


def _overload(name: str) -> OpOverload:
    packet, _, overload = name.partition(".")
    operator = getattr(getattr(torch.ops.aten, packet), overload or "default")
    assert isinstance(operator, OpOverload)
    return operator
