import re
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

from resenc_plans.profiling import cuda_autocast as policy
from resenc_plans.profiling.cuda_autocast import cuda_autocast


def operators_of(macro: str) -> set[str]:
    """The operators that a table of torch's own header lists."""
    header = Path(torch.__file__).parent / "include/ATen/autocast_mode.h"
    text = header.read_text().replace("\\\n", "\n")
    body = re.search(rf"#define {macro}\(_\)\s*\n((?:\s*_\(.*\)\s*\n)+)", text)
    assert body is not None
    entries = re.findall(r"_\((\w+)(?:,\s*(\w+))?\)", body[1])
    return {f"{name}.{overload}" if overload else name for name, overload in entries}


@pytest.mark.parametrize(
    ("macro", "table"),
    [
        ("AT_FORALL_LOWER_PRECISION_FP", policy.LOWER_PRECISION),
        ("AT_FORALL_FP32", policy.SINGLE_PRECISION),
        ("AT_FORALL_FP32_SET_OPT_DTYPE", policy.SINGLE_PRECISION_RESULT),
        ("AT_FORALL_PROMOTE", policy.WIDEST_PRECISION),
    ],
)
def test_the_tables_are_those_of_the_installed_torch(macro: str, table: tuple[str, ...]) -> None:
    assert operators_of(macro) == set(table)


def test_convolutions_run_in_half_and_losses_in_single_precision() -> None:
    image, weight = torch.randn(2, 3, 4, 4), nn.Parameter(torch.randn(5, 3, 3, 3))
    target = torch.zeros(2, 2, 2, dtype=torch.long)
    with cuda_autocast():
        half = functional.conv2d(image, weight)
        assert half.dtype == torch.float16
        assert functional.leaky_relu(half).dtype == torch.float16
        assert functional.cross_entropy(half, target).dtype == torch.float32
        assert half.softmax(1).dtype == torch.float32
        assert half.sum((2, 3)).dtype == torch.float32
        assert half.sum((2, 3), dtype=torch.float64).dtype == torch.float64
        assert torch.dot(half.flatten(), half.flatten().float()).dtype == torch.float32


def test_a_weight_is_cast_once_per_block() -> None:
    image, weight = torch.randn(1, 3, 4, 4), nn.Parameter(torch.randn(5, 3, 3, 3))

    def cast_of(result: torch.Tensor) -> object:
        return result.grad_fn.next_functions[1][0]

    with cuda_autocast():
        first, second = (functional.conv2d(image, weight) for _ in range(2))
    with cuda_autocast():
        third = functional.conv2d(image, weight)
    assert cast_of(first) is cast_of(second)
    assert cast_of(first) is not cast_of(third)


def test_afterwards_the_cpu_has_its_own_rules_again() -> None:
    image, weight = torch.randn(1, 1, 4, 4), torch.randn(1, 1, 3, 3)
    with pytest.raises(ZeroDivisionError), cuda_autocast():
        raise ZeroDivisionError
    assert functional.conv2d(image, weight).dtype == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        half = functional.conv2d(image, weight)
        assert half.dtype == torch.bfloat16
        assert functional.avg_pool2d(half, 2).dtype == torch.bfloat16
