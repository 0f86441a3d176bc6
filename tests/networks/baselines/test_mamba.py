"""The Mamba layer against its steps, written out, and against mambapy."""

from math import ceil, log

import pytest
import torch
from mambapy.mamba import MambaBlock, MambaConfig
from torch import Tensor, nn

from resenc_plans.networks.baselines.mamba import Mamba, MambaStage, mix_voxels
from resenc_plans.networks.baselines.selective_scan import selective_scan


def by_steps(layer: Mamba, x: Tensor) -> Tensor:
    """The layer on one sequence (length, width), token by token."""
    width = x.shape[1]
    inner, states, rank = 2 * width, 16, ceil(width / 16)

    def silu(value: Tensor) -> Tensor:
        return value / (1 + torch.exp(-value))

    both = x @ layer.in_proj.weight.T
    u, z = both[:, :inner], both[:, inner:]
    taps = layer.conv1d.weight[:, 0]
    rows = []
    for t in range(len(x)):
        row = layer.conv1d.bias.clone()
        for k in range(4):
            if t - 3 + k >= 0:
                row += taps[:, k] * u[t - 3 + k]
        rows.append(silu(row))
    h = torch.zeros(inner, states, dtype=x.dtype)
    results = []
    for row, gate in zip(rows, z, strict=True):
        three = layer.x_proj.weight @ row
        dt, b, c = three[:rank], three[rank : rank + states], three[rank + states :]
        delta = torch.log1p(torch.exp(layer.dt_proj.weight @ dt + layer.dt_proj.bias))
        for e in range(inner):
            for n in range(states):
                rate = -torch.exp(layer.A_log[e, n])
                h[e, n] = torch.exp(delta[e] * rate) * h[e, n] + delta[e] * row[e] * b[n]
        y = torch.stack([(h[e] * c).sum() for e in range(inner)]) + layer.D * row
        results.append(layer.out_proj.weight @ (y * silu(gate)))
    return torch.stack(results)


def test_the_layer_does_what_its_steps_say() -> None:
    torch.manual_seed(0)
    layer = Mamba(4).double()
    x = torch.randn(2, 6, 4, dtype=torch.float64)
    with torch.no_grad():
        expected = torch.stack([by_steps(layer, sample) for sample in x])
        assert torch.allclose(layer(x), expected, rtol=1e-10, atol=1e-12)


def test_gradients_are_those_of_the_function() -> None:
    torch.manual_seed(0)
    layer = Mamba(2).double()
    x = torch.randn(1, 5, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, (x,))


def test_a_token_sees_only_those_before_it() -> None:
    torch.manual_seed(0)
    layer, x = Mamba(4), torch.randn(1, 8, 4)
    changed = x.clone()
    changed[:, 5] += 1
    before, after = layer(x)[0], layer(changed)[0]
    assert torch.equal(before[:5], after[:5])
    assert (before[5:] != after[5:]).any(1).all()


def test_sizes_and_initial_values_are_those_of_the_paper() -> None:
    torch.manual_seed(0)
    layer = Mamba(320)
    assert sum(p.numel() for p in layer.parameters()) == 675_200
    assert sum(p.numel() for p in MambaStage(320).parameters()) == 675_840
    assert layer.dt_proj.weight.shape == (640, 20)
    assert layer.dt_proj.weight.abs().max() <= 20**-0.5
    steps = torch.nn.functional.softplus(layer.dt_proj.bias).detach()
    assert 0.00099 < float(steps.min()) < 0.0015
    assert 0.07 < float(steps.max()) < 0.1001
    assert steps.log().mean().item() == pytest.approx((log(0.001) + log(0.1)) / 2, abs=0.2)
    assert torch.allclose(layer.A_log.exp(), torch.arange(1.0, 17).expand(640, 16))
    assert (layer.D == 1).all()


@pytest.mark.parametrize("parallel", [False, True])
def test_it_is_the_block_of_mambapy(parallel: bool) -> None:
    torch.manual_seed(0)
    other = MambaBlock(MambaConfig(d_model=16, n_layers=1, pscan=parallel))
    layer = Mamba(16)
    layer.load_state_dict(other.state_dict())
    image = torch.randn(2, 20, 16, requires_grad=True)
    ours, expected = layer(image), other(image)
    assert torch.allclose(ours, expected, rtol=1e-5, atol=1e-6)
    (gradient,), (other_gradient,) = (
        torch.autograd.grad(result.square().sum(), image, retain_graph=True)
        for result in (ours, expected)
    )
    assert torch.allclose(gradient, other_gradient, rtol=1e-5, atol=1e-6)
    for result in (ours, expected):
        result.square().sum().backward()
    others = dict(other.named_parameters())
    for name, parameter in layer.named_parameters():
        error = (parameter.grad - others[name].grad).abs().max() / others[name].grad.abs().max()
        assert error < 1e-5, name


def test_voxels_are_tokens_with_the_last_axis_fastest() -> None:
    torch.manual_seed(0)
    norm, mamba, x = nn.LayerNorm(4), Mamba(4), torch.randn(1, 4, 2, 3, 2)
    voxels = [x[0, :, i, j, k] for i in range(2) for j in range(3) for k in range(2)]
    expected = mamba(norm(torch.stack(voxels)[None]))[0]
    mixed = mix_voxels(x, norm, mamba)
    for number in range(12):
        i, j, k = number // 6, number // 2 % 3, number % 2
        assert torch.allclose(mixed[0, :, i, j, k], expected[number], atol=1e-6)


def test_channels_are_tokens_of_all_their_voxels() -> None:
    torch.manual_seed(0)
    stage, x = MambaStage(4, channels_are_tokens=True), torch.randn(1, 6, 2, 1, 2)
    expected = stage.mamba(stage.norm(x.view(1, 6, 4)))
    assert torch.allclose(stage(x).view(1, 6, 4), expected, atol=1e-6)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_a_stage_computes_in_single_precision_with_autocast(kind: torch.dtype) -> None:
    torch.manual_seed(0)
    stage, x = MambaStage(4), torch.randn(1, 4, 2, 3, 2).to(kind)
    expected = stage(x.float())
    with torch.autocast("cpu", torch.bfloat16):
        mixed = stage(x)
    assert mixed.dtype == torch.float32
    assert torch.equal(mixed, expected)


def test_from_the_step_size_to_the_gate_all_is_in_single_precision() -> None:
    torch.manual_seed(0)
    layer, x, silu = Mamba(4), torch.randn(1, 8, 4), nn.functional.silu
    for weights in (layer.dt_proj.bias, layer.x_proj.weight, layer.out_proj.weight):
        nn.init.normal_(weights)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        u, z = layer.in_proj(x).transpose(1, 2).chunk(2, 1)
        u = silu(layer.conv1d(u)[..., :8])
        step, b, c = layer.x_proj(u.transpose(1, 2)).split((1, 16, 16), 2)
        step = layer.dt_proj.weight @ step.transpose(1, 2)
        assert {part.dtype for part in (u, z, step, b, c)} == {torch.bfloat16}
        with torch.autocast("cpu", enabled=False):
            delta = nn.functional.softplus(step.float() + layer.dt_proj.bias[:, None])
            b, c = (weights.float().transpose(1, 2) for weights in (b, c))
            y = selective_scan(u.float(), delta, a=-layer.A_log.exp(), b=b, c=c, d=layer.D)
            y = (y * silu(z.float())).bfloat16()
        assert torch.equal(layer(x), layer.out_proj(y.transpose(1, 2)))


def test_the_layer_takes_half_precision_of_autocast() -> None:
    torch.manual_seed(0)
    layer, x = Mamba(4), torch.randn(1, 8, 4)
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x)
    assert y.dtype == torch.bfloat16
    assert torch.allclose(y.float(), layer(x), atol=0.05)
