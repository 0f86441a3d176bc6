"""From logits on the network's grid to labels on the image's grid."""
