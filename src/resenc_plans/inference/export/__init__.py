"""From logits on the network's grid to labels or probabilities on the image's grid.

nnU-Net interpolates the logits of all heads to the image's grid and takes the largest head of each
voxel. For 50 heads of a CT that holds 29 GiB and calculates 50 means of eight logits for each of 80
million voxels. This package gives the same labels, voxel for voxel, by comparing instead.

**The method.** An interpolated logit is a mean of the logits at the (up to eight) corners of a cell
of the old grid, with weights that are the same for all heads. So the head that is largest at every
corner is largest everywhere in the cell, and no arithmetic is needed there. In three steps, some
planes of logits at a time:

1. *Winners.* One pass over the logits on the old grid finds the largest head of each voxel. With
   regions, where heads overlap, it is the last head that is positive: a mean of positive numbers is
   positive, and one of numbers that are not is not.
2. *Agreement.* Each new voxel whose corners have the same winner takes it. The others are the
   border.
3. *Interpolation.* At the border the heads are interpolated in double precision, in scipy's order
   of products and sums. First those that win at a voxel nearby; any other only if its largest value
   nearby reaches the best interpolated one, since a mean is no larger than the largest corner.

**Rounding.** nnU-Net rounds interpolated logits to the type they came in, often half precision, and
of equal heads the first wins. Two heads that differ may so become equal. A voxel where an earlier
head is within `CLOSE` units of the winner is therefore in doubt: it agrees with no other, and
its cells are interpolated. Floats are compared by their bits as integers, which numba does several
times faster than half precision, for which it has no arithmetic.

**Modules**, in the order in which a case goes through them:

- `case`: a case's logits to its segmentation, with cropping and transposition undone.
- `labels`: `export_labels`, logits (heads, z, y, x) to labels (z, y, x); chooses one of two ways:
- `borders`: the method above, for linear and nearest interpolation. It uses `planes` (logits some
  planes at a time, from memory, files or stores), `border_kernels` (the compiled loops of the three
  steps) and `float_bits` (floats as integers that have the same order).
- `on_device`: the same method for logits on a GPU, by operators of PyTorch.
- `plain`: head by head, each on the whole new grid, for every other interpolation. It is simple and
  slow, and what the tests compare `borders` with.
- `interpolation`: which interpolation a configuration names.
- `probabilities`: softmax or sigmoid on the image's grid, as nnU-Net stores them for ensembles. It
  uses `resampled_heads` (one head after the other, plane by plane) and `npz_stream` (an array in an
  .npz file, piece by piece).
"""
