"""What a dataset is: its folder, dataset.json, labels, images, integrity, fingerprint, splits."""
