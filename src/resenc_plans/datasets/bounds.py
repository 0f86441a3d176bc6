"""What a number of a dataset or of plans can mean: sizes of voxels, edges of images, labels.

Far beyond these no image exists, and sums and products of what is within them fit every type.
"""

MIN_SPACING, MAX_SPACING = 1e-6, 1e6
"""Millimetres: a nanometre, as in electron microscopy, and a kilometre."""
MAX_EDGE = 1_000_000
"""Voxels along an axis."""
MAX_CASES = 100_000_000
MAX_LABEL = 2**31 - 1
"""Largest value of a label; 65,535 is the largest that a segmentation is written with."""
MAX_SEED = 2**32 - 1
"""Largest seed that NumPy and PyTorch both take."""
