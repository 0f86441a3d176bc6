"""Pictures of images, networks, curves and distributions."""
