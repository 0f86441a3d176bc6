"""The memory of one training step, tensor by tensor, in the order in which autograd works.

Forward under fp16 autocast, the loss at every head but the lowest (whose weight nnU-Net sets to
zero), backward, SGD with momentum. Counted are storages, as torch's allocator would be asked for
them: no workspace of cuDNN, no rounding or fragments of the allocator, no context of CUDA.
"""

from dataclasses import dataclass

from resenc_plans.cost.counts import count_parameters
from resenc_plans.cost.layers import Convolution, SizedLayers
from resenc_plans.cost.loss_memory import Logits, Loss, LossKind
from resenc_plans.cost.operations import SINGLE, Backward, Buffer, Operations


@dataclass(frozen=True)
class StepMemory:
    """What one training step takes, in bytes.

    `activation_bytes` are alive after the network's forward pass beyond parameters, momentum and
    the batch itself; `peak_bytes` counts everything; `bytes_moved` is what all operations read and
    write.
    """

    activation_bytes: int
    peak_bytes: int
    bytes_moved: int


def simulate_training_step(
    layers: SizedLayers,
    batch_size: int,
    loss: LossKind = "cross-entropy",
    *,
    fused_dice: bool = False,
    distributed: bool = False,
) -> StepMemory:
    """One step of a U-Net with deep supervision on a batch of `batch_size`.

    `distributed` adds the gradient buckets of DistributedDataParallel, one fp32 copy.
    """
    run = Operations(layers.style, batch_size, training=True)
    ledger = run.ledger
    criterion = Loss(ledger, loss, fused_dice=fused_dice)
    heads = [
        Logits(layers.output_heads, batch_size * stage.head.output_voxels)
        for stage in layers.decoder
    ]
    parameters = count_parameters(layers)
    ledger.new((3 if distributed else 2) * SINGLE * parameters)
    image = ledger.new(SINGLE * batch_size * layers.input_channels * layers.input_voxels)
    ledger.new(sum(criterion.target_bytes(logits) for logits in heads))
    before = ledger.live
    network = _Network(run, layers, image)
    activations = ledger.live - before
    with_loss = list(range(len(heads)))[1:] or [0]
    saved = {number: criterion.forward(heads[number]) for number in reversed(with_loss)}
    gradients: list[Buffer | None] = [None] * len(heads)
    for number in with_loss:
        gradients[number] = criterion.backward(heads[number], saved[number])
    network.backward(gradients)
    ledger.momentary((SINGLE * parameters,))
    ledger.touch(*(8 * (SINGLE * parameters,)))
    return StepMemory(activations, ledger.peak, ledger.moved)


def inference_peak(layers: SizedLayers) -> int:
    """Peak bytes of one patch through the network, weights in fp32 and fp16 and logits included."""
    run = Operations(layers.style, 1, training=False)
    run.ledger.new(SINGLE * count_parameters(layers))
    image = run.ledger.new(SINGLE * layers.input_channels * layers.input_voxels)
    _Network(run, layers, image, deep_supervision=False)
    return run.ledger.peak


class _Network:
    """The forward pass, and what is needed to go back."""

    def __init__(
        self, run: Operations, layers: SizedLayers, image: Buffer, *, deep_supervision: bool = True
    ) -> None:
        self.run = run
        ledger = run.ledger
        x = ledger.new(image.size // 2)
        ledger.touch(image.size, x.size)
        self.stem: Backward | None = None
        if layers.stem is not None:
            x, self.stem = self._through(x, run.unit(x, layers.stem))
        skips, self.encoder = [], []
        for stage in layers.encoder:
            backs = []
            for part in stage:
                step = run.unit(x, part) if isinstance(part, Convolution) else run.block(x, part)
                x, back = self._through(x, step)
                backs.append(back)
            skips.append(ledger.hold(x))
            self.encoder.append(backs)
        self.decoder = []
        for number, decoder_stage in enumerate(layers.decoder):
            skip = skips[-2 - number]
            up, up_back = run.convolution(x, decoder_stage.upsampling)
            ledger.free(x)
            x = ledger.new(up.size + skip.size)
            ledger.touch(up.size, skip.size, x.size)
            ledger.free(up)
            backs = []
            for unit in decoder_stage.convolutions:
                x, back = self._through(x, run.unit(x, unit))
                backs.append(back)
            head_back = None
            if deep_supervision or number == len(layers.decoder) - 1:
                _, head_back = run.convolution(x, decoder_stage.head)
            self.decoder.append((up_back, backs, head_back))
        ledger.free(x, *skips)

    def backward(self, gradients: list[Buffer | None]) -> None:
        """From the gradients of the heads' logits to those of all parameters."""
        run, ledger = self.run, self.run.ledger
        gradient: Buffer | None = None
        joined: list[Buffer] = []
        for (up_back, backs, head_back), of_logits in zip(
            reversed(self.decoder), reversed(gradients), strict=True
        ):
            if of_logits is not None and head_back is not None:
                of_head = head_back(of_logits)
                gradient = of_head if gradient is None else run.sum(gradient, of_head)
            assert gradient is not None
            for back in reversed(backs):
                gradient = back(gradient)
            joined.append(ledger.hold(gradient))
            gradient = self._upsampling(up_back, gradient)
        assert gradient is not None
        for number, backs in enumerate(reversed(self.encoder)):
            if number:
                gradient = self._with_skip(gradient, joined[-number])
            for back in reversed(backs):
                gradient = back(gradient)
        if self.stem is not None:
            gradient = self.stem(gradient)
        ledger.free(gradient)

    def _through(self, x: Buffer, result: tuple[Buffer, Backward]) -> tuple[Buffer, Backward]:
        self.run.ledger.free(x)
        return result

    def _upsampling(self, back: Backward, joined: Buffer) -> Buffer:
        """The gradient below an upsampling, from one half of that of the joined feature maps."""
        ledger = self.run.ledger
        half = ledger.new(joined.size // 2)
        ledger.touch(half.size, half.size)
        ledger.free(joined)
        return back(half)

    def _with_skip(self, gradient: Buffer, joined: Buffer) -> Buffer:
        """The gradient of a stage's result, the skip connection's half of `joined` added.

        That half is a view, so that the whole of `joined` lived until here.
        """
        ledger = self.run.ledger
        both = ledger.new(gradient.size)
        ledger.touch(gradient.size, gradient.size, both.size)
        ledger.free(gradient, joined)
        return both
