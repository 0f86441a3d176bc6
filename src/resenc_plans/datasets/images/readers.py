"""nnU-Net's image readers, by the names that plans files record."""

SIMPLEITK = "SimpleITKIO"
SIMPLEITK_REORIENT = "SimpleITKIOWithReorient"
NIBABEL = "NibabelIO"
NIBABEL_REORIENT = "NibabelIOWithReorient"
NATURAL_2D = "NaturalImage2DIO"
TIFF_3D = "Tiff3DIO"

READERS_BY_ENDING = {
    ".png": (NATURAL_2D,),
    ".bmp": (NATURAL_2D,),
    ".tif": (NATURAL_2D, TIFF_3D),
    ".tiff": (TIFF_3D,),
    ".nii.gz": (SIMPLEITK, NIBABEL, NIBABEL_REORIENT),
    ".nii": (NIBABEL, NIBABEL_REORIENT),
    ".nrrd": (SIMPLEITK,),
    ".mha": (SIMPLEITK,),
    ".gipl": (SIMPLEITK,),
}
"""Readers per file ending in the order in which nnU-Net tries them."""

READERS = frozenset({SIMPLEITK_REORIENT, *(r for rs in READERS_BY_ENDING.values() for r in rs)})
