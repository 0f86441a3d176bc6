"""Blocks and chunks; equality with nnU-Net's choice is tested in tests/interop."""

from hypothesis import given
from hypothesis import strategies as st

from resenc_plans.preprocessing.store.layout import BLOCK_BYTES, CHUNK_BYTES, store_layout

lengths = st.integers(1, 900)
patches = st.lists(st.integers(1, 300), min_size=2, max_size=3)


@given(st.tuples(st.integers(1, 4), lengths, lengths, lengths), patches, st.sampled_from((2, 4)))
def test_blocks_fit_into_chunks_and_chunks_into_the_array(
    shape: tuple[int, ...], patch: tuple[int, ...], itemsize: int
) -> None:
    layout = store_layout(shape, patch, itemsize)

    sizes = {"blocks": itemsize, "chunks": itemsize}
    for block, chunk, length in zip(layout.blocks, layout.chunks, shape, strict=True):
        assert 1 <= block <= chunk <= length
        sizes = {"blocks": sizes["blocks"] * block, "chunks": sizes["chunks"] * chunk}
    assert sizes["blocks"] <= BLOCK_BYTES
    assert sizes["chunks"] <= CHUNK_BYTES


def test_a_2d_patch_reads_single_planes() -> None:
    assert store_layout((1, 40, 256, 256), (256, 256), 4).chunks[1] == 1
