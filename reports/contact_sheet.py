"""Contact sheets: images in a grid, each with a caption."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

MAX_COLUMNS = 8
"""Largest number of images in a row."""
CELL_SIZE = 120
"""Longer side of an image and width of its caption, in pixels."""
MARGIN = 10
"""Space between images, in pixels."""
LINE_HEIGHT = 14
"""Height of a line of text, in pixels."""


def contact_sheet(
    images: NDArray[np.uint8], captions: Sequence[Sequence[str]], title: str
) -> bytes:
    """Draw images with captions below them.

    Args:
        images: images, shape (n, C, H, W) with C = 1 or 3.
        captions: lines of text below each image.
        title: text above the images.

    Returns:
        The contact sheet as PNG.
    """
    columns = min(MAX_COLUMNS, max(1, len(images)))
    rows = -(-len(images) // columns)
    lines = max((len(caption) for caption in captions), default=0)
    step = CELL_SIZE + lines * LINE_HEIGHT + MARGIN
    width = max(columns * (CELL_SIZE + MARGIN) + MARGIN, 4 * CELL_SIZE)
    sheet = Image.new("RGB", (width, rows * step + 2 * LINE_HEIGHT + MARGIN), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=12)
    draw.text((MARGIN, MARGIN), title, fill="black", font=font)
    # Some datasets use a part of the range only: the digits' largest pixel value is 16.
    brightness = 255 / max(1, int(images.max(initial=0)))
    for n, (image, caption) in enumerate(zip(images, captions, strict=True)):
        left = MARGIN + (n % columns) * (CELL_SIZE + MARGIN)
        top = 2 * LINE_HEIGHT + MARGIN + (n // columns) * step
        picture = _resize((image * brightness).astype(np.uint8))
        sheet.paste(picture, (left + (CELL_SIZE - picture.width) // 2, top))
        for i, text in enumerate(caption):
            draw.text(
                (left, top + CELL_SIZE + i * LINE_HEIGHT),
                _truncate(text, draw, font),
                fill="black",
                font=font,
            )
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    return buffer.getvalue()


def _resize(image: NDArray[np.uint8]) -> Image.Image:
    """Return an image of shape (C, H, W) resized to its place in the grid."""
    channels, height, width = image.shape
    pixels = image[0] if channels == 1 else np.moveaxis(image[:3], 0, -1)
    # Enlarge small images without interpolation, which would blur what the network saw.
    scale = CELL_SIZE / max(height, width)
    method = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return Image.fromarray(np.ascontiguousarray(pixels)).convert("RGB").resize(size, method)


def _truncate(
    text: str, draw: ImageDraw.ImageDraw, font: ImageFont.FreeTypeFont | ImageFont.ImageFont
) -> str:
    """Shorten a text that is wider than an image's place in the grid."""
    shortened = text
    while draw.textlength(shortened, font=font) > CELL_SIZE and len(shortened) > 2:
        shortened = shortened[:-2] + "…"
    return shortened
