"""What pictures say that they show."""

from pathlib import Path

from PIL import Image


def title_of(picture: Path) -> str:
    """The title in a PNG's metadata, which is the line above the picture."""
    with Image.open(picture) as image:
        return str(image.info["Title"])
