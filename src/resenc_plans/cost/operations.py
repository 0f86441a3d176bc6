"""What each operation of a network allocates, what autograd keeps of it, and when that is freed.

Forward, an operation makes its result and holds what its gradient needs; its backward makes the
gradient of its input and lets go of what was held. Feature maps have 2 bytes per value (fp16
autocast), parameters and their gradients 4. In evaluation nothing is held.

Instance normalisation returns a view, so that what then works in place on its result (the
activation, the sum of a residual block) goes back through torch's CopySlices, which copies the
gradient twice.
"""

from collections.abc import Callable, Iterable, Sequence

from resenc_plans.cost.layers import Convolution, LayerStyle, ResidualBlock

HALF, SINGLE = 2, 4


class Buffer:
    """A tensor's storage: its size in bytes, and how many hold it."""

    __slots__ = ("holders", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self.holders = 1


class Ledger:
    """Counts storages as they come and go, and the bytes that operations read and write.

    >>> ledger = Ledger()
    >>> ledger.free(ledger.new(8)); ledger.live, ledger.peak
    (0, 8)
    """

    def __init__(self) -> None:
        self.live = 0
        self.peak = 0
        self.moved = 0

    def new(self, size: int) -> Buffer:
        """A new storage of `size` bytes, held once."""
        self.live += size
        if self.live > self.peak:
            self.peak = self.live
        return Buffer(size)

    def hold(self, buffer: Buffer) -> Buffer:
        """One more holds the storage."""
        buffer.holders += 1
        return buffer

    def free(self, *buffers: Buffer) -> None:
        """One fewer holds each storage; the last one frees it."""
        for buffer in buffers:
            buffer.holders -= 1
            if not buffer.holders:
                self.live -= buffer.size

    def touch(self, *sizes: int) -> None:
        """An operation read or wrote so many bytes."""
        self.moved += sum(sizes)

    def momentary(self, sizes: Iterable[int]) -> None:
        """Storages that an operation makes and gives up again, all alive at once."""
        size = sum(sizes)
        self.peak = max(self.peak, self.live + size)


Backward = Callable[[Buffer], Buffer]
"""From the gradient of a result to that of the input. The former is freed."""


class Operations:
    """The operations of one network on one batch, booked in a ledger."""

    def __init__(self, style: LayerStyle, batch_size: int, *, training: bool) -> None:
        self.style = style
        self.batch = batch_size
        self.training = training
        self.ledger = Ledger()

    def size(self, channels: int, voxels: int) -> int:
        """Bytes of a batch of feature maps."""
        return HALF * self.batch * channels * voxels

    def unit(self, x: Buffer, layer: Convolution) -> tuple[Buffer, Backward]:
        """A convolution with dropout, normalisation and activation; `x` stays held."""
        y, back = self.convolution(x, layer)
        backs = [back]
        followers: list[Callable[[Buffer], tuple[Buffer, Backward]]] = []
        if layer.dropout:
            followers.append(self.dropout)
        if layer.norm:
            followers.append(self.norm)
        if layer.activation:
            position = -1 if self.style.activation_first and layer.norm else len(followers)
            on_view = layer.norm and not self.style.activation_first
            followers.insert(position, lambda y: self.activation(y, after_norm=on_view))
        for follow in followers:
            y, back = follow(y)
            backs.append(back)
        return y, in_turn(backs)

    def convolution(self, x: Buffer, layer: Convolution) -> tuple[Buffer, Backward]:
        """Keeps its input and its weights, in fp16."""
        ledger = self.ledger
        weights = layer.inputs * layer.outputs * layer.kernel_volume
        cast = ledger.new(HALF * weights)
        y = ledger.new(self.size(layer.outputs, layer.output_voxels))
        ledger.touch(x.size, cast.size, y.size)
        if self.training:
            ledger.hold(x)

        def back(gradient: Buffer) -> Buffer:
            ledger.touch(gradient.size, cast.size, x.size)
            ledger.touch(gradient.size, x.size, cast.size)
            of_input, of_cast = ledger.new(x.size), ledger.new(cast.size)
            ledger.free(x, gradient, cast)
            ledger.new(SINGLE * weights)
            ledger.free(of_cast)
            return of_input

        return y, back

    def dropout(self, x: Buffer) -> tuple[Buffer, Backward]:
        """Keeps a mask of one byte per value, or next to nothing if it drops whole channels."""
        ledger = self.ledger
        ledger.touch(x.size, x.size)
        mask = ledger.new(x.size // HALF if self.style.dropout == "values" else 0)
        if self.style.dropout_in_place:
            y = x
        else:
            y = ledger.new(x.size)
            ledger.free(x)
        if not self.training:
            ledger.free(mask)

        def back(gradient: Buffer) -> Buffer:
            ledger.touch(gradient.size, gradient.size)
            of_input = ledger.new(gradient.size)
            ledger.free(mask, gradient)
            return of_input

        return y, back

    def norm(self, x: Buffer) -> tuple[Buffer, Backward]:
        """Keeps its input; statistics are too small to count."""
        y = self.ledger.new(x.size)
        self.ledger.touch(x.size, y.size)
        return y, self._backward_of(x)

    def activation(self, x: Buffer, *, after_norm: bool) -> tuple[Buffer, Backward]:
        """In place, keeps its result; else a new one beside the input, of which one is kept."""
        ledger = self.ledger
        ledger.touch(x.size, x.size)
        if self.style.activation_in_place:
            back = self._backward_of(ledger.hold(x))
            return x, self._through_view(back) if self._is_view(after_norm) else back
        y = ledger.new(x.size)
        if self.style.activation_keeps_input:
            return y, self._backward_of(x)
        ledger.free(x)
        return y, self._backward_of(ledger.hold(y))

    def pooling(self, x: Buffer, voxels: int, channels: int) -> tuple[Buffer, Backward]:
        """Keeps its input, `x`, which stays held by the caller too."""
        ledger = self.ledger
        y = ledger.new(self.size(channels, voxels))
        ledger.touch(x.size, y.size)
        if self.training:
            ledger.hold(x)

        def back(gradient: Buffer) -> Buffer:
            ledger.touch(gradient.size, x.size)
            of_input = ledger.new(x.size)
            ledger.free(x, gradient)
            return of_input

        return y, back

    def scaling(self, x: Buffer, *, keeps_input: bool) -> tuple[Buffer, Backward]:
        """A product with a few factors: stochastic depth, squeeze and excitation."""
        y = self.ledger.new(x.size)
        self.ledger.touch(x.size, y.size)
        if keeps_input:
            return y, self._backward_of(x)
        self.ledger.free(x)

        def back(gradient: Buffer) -> Buffer:
            of_input = self.ledger.new(gradient.size)
            self.ledger.free(gradient)
            return of_input

        return y, back

    def block(self, x: Buffer, block: ResidualBlock) -> tuple[Buffer, Backward]:
        """A residual block. Its backward hands both branches the same gradient."""
        ledger = self.ledger
        residual, skip_backs = ledger.hold(x), []
        if block.pooled_voxels is not None:
            channels = block.convolutions[0].inputs
            pooled, back = self.pooling(residual, block.pooled_voxels, channels)
            ledger.free(residual)
            residual = pooled
            skip_backs.append(back)
        if block.projection is not None:
            projected, back = self.unit(residual, block.projection)
            ledger.free(residual)
            residual = projected
            skip_backs.append(back)
        y, backs = ledger.hold(x), []
        for layer in block.convolutions:
            after, back = self.unit(y, layer)
            ledger.free(y)
            y = after
            backs.append(back)
        if block.stochastic_depth:
            y, back = self.scaling(y, keeps_input=False)
            backs.append(back)
        if block.squeezed is not None:
            y, back = self.scaling(y, keeps_input=True)
            backs.append(back)
        ledger.touch(y.size, residual.size, y.size)
        scaled = block.stochastic_depth or block.squeezed is not None
        on_view = self._is_view(block.convolutions[-1].norm and not scaled)
        activate = None
        if self.style.activation:
            y, activate = self.activation(y, after_norm=on_view)
        ledger.free(residual)
        main, skip = in_turn(backs), in_turn(skip_backs)

        def backward(gradient: Buffer) -> Buffer:
            if activate is not None:
                gradient = activate(gradient)
            shared = ledger.hold(gradient)
            if on_view:
                gradient, copy = ledger.new(gradient.size), ledger.new(gradient.size)
                ledger.touch(*(6 * (gradient.size,)))
                ledger.free(shared, shared)
                shared = copy
            return self.sum(main(gradient), skip(shared))

        return y, backward

    def sum(self, first: Buffer, second: Buffer) -> Buffer:
        """Two gradients of one tensor, added in place."""
        self.ledger.touch(first.size, second.size, first.size)
        self.ledger.free(second)
        return first

    def _is_view(self, after_norm: bool) -> bool:
        return after_norm and self.style.norm_returns_view

    def _through_view(self, inner: Backward) -> Backward:
        """CopySlices: the gradient is copied, the copy cloned, and the result copied back."""
        ledger = self.ledger

        def back(gradient: Buffer) -> Buffer:
            copy, clone = ledger.new(gradient.size), ledger.new(gradient.size)
            ledger.touch(*(6 * (gradient.size,)))
            result = inner(clone)
            ledger.free(result, gradient)
            return copy

        return back

    def _backward_of(self, saved: Buffer) -> Backward:
        """The backward of an operation that saves `saved`, as large as its input."""
        ledger = self.ledger
        if not self.training:
            ledger.free(saved)

        def back(gradient: Buffer) -> Buffer:
            ledger.touch(gradient.size, saved.size, saved.size)
            of_input = ledger.new(gradient.size)
            ledger.free(saved, gradient)
            return of_input

        return back


def in_turn(backs: Sequence[Backward]) -> Backward:
    """The backward of operations that follow each other."""

    def back(gradient: Buffer) -> Buffer:
        for step in reversed(backs):
            gradient = step(gradient)
        return gradient

    return back
