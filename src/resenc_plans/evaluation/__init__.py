"""From segmentations to a judgement: figures, post-processing, choice of a model, pictures."""
