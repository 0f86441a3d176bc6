"""The systems of nnU-Net Revisited, and variants of them, as recipes for plans."""
