"""Builds of PyTorch whose convolutions are known to be slow."""

_SLOW_TORCH = (2, 9)
_FIRST_FAST_CUDNN = 91500
"""cuDNN 9.15.0, as `torch.backends.cudnn.version()` gives it."""


def slow_convolutions(torch_version: str, cudnn_version: int | None) -> str | None:
    """What to tell a person whose 3D convolutions are several times slower than they could be.

    PyTorch 2.9 comes with an older cuDNN, with which 3D convolutions under autocast take about four
    times as long, and in bf16 many times the memory (pytorch/pytorch issue 166122). nnU-Net 2.8.1
    excludes it.

    Parameters
    ----------
    torch_version
        `torch.__version__`, such as "2.9.1+cu128".
    cudnn_version
        `torch.backends.cudnn.version()`, such as 91002 for 9.10.2; None without cuDNN.

    >>> slow_convolutions("2.8.0+cu128", 91002)
    """
    release = torch_version.partition("+")[0].split(".")
    if tuple(release[:2]) != tuple(map(str, _SLOW_TORCH)) or cudnn_version is None:
        return None
    if cudnn_version >= _FIRST_FAST_CUDNN:
        return None
    return (
        f"PyTorch {torch_version} with cuDNN {cudnn_name(cudnn_version)} computes 3D convolutions "
        "in fp16 and bf16 several times slower than other versions. Install cuDNN 9.15 or newer "
        "(pip install 'nvidia-cudnn-cu12>=9.15', or -cu13), or another version of PyTorch."
    )


def cudnn_name(version: int) -> str:
    """CuDNN's version as people write it.

    >>> cudnn_name(91002), cudnn_name(8902)
    ('9.10.2', '8.9.2')
    """
    major = 10_000 if version >= 90_000 else 1000
    return f"{version // major}.{version % major // 100}.{version % 100}"
