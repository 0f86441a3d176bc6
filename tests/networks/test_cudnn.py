import pytest

from resenc_plans.networks.cudnn import slow_convolutions


@pytest.mark.parametrize("version", ["2.9.0", "2.9.1+cu128"])
def test_torch_2_9_with_an_older_cudnn_is_slow(version: str) -> None:
    text = slow_convolutions(version, 91002)
    assert text is not None
    assert f"PyTorch {version} with cuDNN 9.10.2" in text
    assert "Install cuDNN 9.15 or newer" in text


@pytest.mark.parametrize(
    ("version", "cudnn"),
    [("2.9.1+cu130", 91500), ("2.8.0", 91002), ("2.10.0", 91002), ("2.9.1+cpu", None)],
)
def test_other_builds_are_not_known_to_be_slow(version: str, cudnn: int | None) -> None:
    assert slow_convolutions(version, cudnn) is None
