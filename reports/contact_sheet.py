"""Contact sheets: images in a grid, each with a caption below it."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

MAX_COLUMNS = 8
"""Largest number of images side by side."""
TILE_SIZE_PX = 120
"""Length of an image's longer side, and width of its caption, in pixels."""
MARGIN_PX = 10
"""Space between images, in pixels."""
LINE_HEIGHT_PX = 14
"""Height of a line of a caption or title, in pixels."""


def draw_contact_sheet(
    images: NDArray[np.uint8], captions: Sequence[Sequence[str]], title: str
) -> bytes:
    """Draw images in a grid, with a title above and a caption below each image.

    Args:
        images: images, shape (n, C, H, W), with C = 1 or 3 channels.
        captions: lines of the caption of each image.
        title: text above the images.

    Returns:
        The content of a PNG file.
    """
    column_count = min(MAX_COLUMNS, max(1, len(images)))
    row_count = -(-len(images) // column_count)
    line_count = max((len(caption) for caption in captions), default=0)
    row_height = TILE_SIZE_PX + line_count * LINE_HEIGHT_PX + MARGIN_PX
    sheet_width = max(column_count * (TILE_SIZE_PX + MARGIN_PX) + MARGIN_PX, 4 * TILE_SIZE_PX)
    sheet = Image.new(
        "RGB", (sheet_width, row_count * row_height + 2 * LINE_HEIGHT_PX + MARGIN_PX), "white"
    )
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=12)
    draw.text((MARGIN_PX, MARGIN_PX), title, fill="black", font=font)
    # Some datasets use only a part of the range: the largest pixel value of digits is 16.
    brightness_factor = 255 / max(1, int(images.max(initial=0)))
    for index, (image, caption) in enumerate(zip(images, captions, strict=True)):
        left = MARGIN_PX + (index % column_count) * (TILE_SIZE_PX + MARGIN_PX)
        top = 2 * LINE_HEIGHT_PX + MARGIN_PX + (index // column_count) * row_height
        tile = _resize_to_tile((image * brightness_factor).astype(np.uint8))
        sheet.paste(tile, (left + (TILE_SIZE_PX - tile.width) // 2, top))
        for line, text in enumerate(caption):
            draw.text(
                (left, top + TILE_SIZE_PX + line * LINE_HEIGHT_PX),
                _truncate(text, draw, font),
                fill="black",
                font=font,
            )
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    return buffer.getvalue()


def _resize_to_tile(image: NDArray[np.uint8]) -> Image.Image:
    """Resize an image of shape (C, H, W) so that its longer side is `TILE_SIZE_PX` long."""
    channels, height, width = image.shape
    pixels = image[0] if channels == 1 else np.moveaxis(image[:3], 0, -1)
    # Enlarge small images without interpolation, which would blur what the network saw.
    scale = TILE_SIZE_PX / max(height, width)
    resampling = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return Image.fromarray(np.ascontiguousarray(pixels)).convert("RGB").resize(size, resampling)


def _truncate(
    text: str, draw: ImageDraw.ImageDraw, font: ImageFont.FreeTypeFont | ImageFont.ImageFont
) -> str:
    """Replace the middle of a caption line that is wider than `TILE_SIZE_PX` by "…"."""
    shortened = text
    kept_count = len(text)
    while draw.textlength(shortened, font=font) > TILE_SIZE_PX and kept_count > 2:
        kept_count -= 1
        end_count = kept_count // 2
        shortened = f"{text[: kept_count - end_count]}…{text[-end_count:]}"
    return shortened
