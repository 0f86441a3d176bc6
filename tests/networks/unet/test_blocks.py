import torch

from resenc_plans.networks.unet.blocks import DropPath


def test_paths_are_dropped_by_sample_and_the_others_scaled() -> None:
    torch.manual_seed(0)
    x = torch.ones(400, 2, 3)
    dropped = DropPath(0.25)(x)
    assert (dropped == dropped[:, :1, :1]).all()
    assert torch.allclose(dropped.unique(), torch.tensor([0, 4 / 3]))
    assert 0.15 < (dropped[:, 0, 0] == 0).float().mean() < 0.35
    assert torch.equal(DropPath(0.25).eval()(x), x)
