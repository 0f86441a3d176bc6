"""From a fingerprint to plans, equal to nnU-Net's."""
