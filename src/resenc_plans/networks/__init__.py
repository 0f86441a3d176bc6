"""Architecture to torch module: nnU-Net's two U-Nets, and networks of other authors."""
