"""nnU-Net's two U-Nets as modules."""
