"""A contact sheet: pictures in a grid, each with a caption."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

COLUMNS = 8
CELL = 120
"""Pixels of a picture's longer side, and of a caption's width."""
MARGIN = 10
LINE = 14


def contact_sheet(
    images: NDArray[np.uint8], captions: Sequence[Sequence[str]], title: str
) -> bytes:
    """Draw pictures with captions below them.

    Args:
        images: shape (n, C, H, W), C being 1 or 3.
        captions: lines of text for each.
        title: above all.

    Returns:
        The sheet as PNG.
    """
    columns = min(COLUMNS, max(1, len(images)))
    rows = -(-len(images) // columns)
    lines = max((len(caption) for caption in captions), default=0)
    step = CELL + lines * LINE + MARGIN
    width = max(columns * (CELL + MARGIN) + MARGIN, 4 * CELL)
    sheet = Image.new("RGB", (width, rows * step + 2 * LINE + MARGIN), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=12)
    draw.text((MARGIN, MARGIN), title, fill="black", font=font)
    # Some data use a part of the range only: digits' pixels end at 16.
    bright = 255 / max(1, int(images.max(initial=0)))
    for n, (image, caption) in enumerate(zip(images, captions, strict=True)):
        left = MARGIN + (n % columns) * (CELL + MARGIN)
        top = 2 * LINE + MARGIN + (n // columns) * step
        picture = _enlarged((image * bright).astype(np.uint8))
        sheet.paste(picture, (left + (CELL - picture.width) // 2, top))
        for i, text in enumerate(caption):
            draw.text(
                (left, top + CELL + i * LINE), _fitting(text, draw, font), fill="black", font=font
            )
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    return buffer.getvalue()


def _enlarged(image: NDArray[np.uint8]) -> Image.Image:
    channels, height, width = image.shape
    pixels = image[0] if channels == 1 else np.moveaxis(image[:3], 0, -1)
    # Small pictures by whole pixels: what the network saw, not what an interpolation makes of it.
    scale = CELL / max(height, width)
    method = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return Image.fromarray(np.ascontiguousarray(pixels)).convert("RGB").resize(size, method)


def _fitting(
    text: str, draw: ImageDraw.ImageDraw, font: ImageFont.FreeTypeFont | ImageFont.ImageFont
) -> str:
    """Cut a text that is wider than a cell."""
    shown = text
    while draw.textlength(shown, font=font) > CELL and len(shown) > 2:
        shown = shown[:-2] + "…"
    return shown
