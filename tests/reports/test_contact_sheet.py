from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import ImageDraw

from reports.contact_sheet import TILE_SIZE_PX, draw_contact_sheet

if TYPE_CHECKING:
    import pytest


def test_long_captions_keep_both_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    widths: dict[str, float] = {}

    def record_text(
        self: ImageDraw.ImageDraw, _position: object, text: str, **options: Any
    ) -> None:
        widths[text] = self.textlength(text, font=options["font"])

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", record_text)
    name = "goldfinch/2019-06-11_Ludwigshafen_0001234.jpg"
    images = np.zeros((1, 1, 8, 8), dtype=np.uint8)
    draw_contact_sheet(images, [[name, "given: ant"]], "title")

    title, file_name, given = widths
    assert (title, given) == ("title", "given: ant")
    assert TILE_SIZE_PX / 2 < widths[file_name] <= TILE_SIZE_PX
    start, _, end = file_name.partition("…")
    assert name.startswith(start)
    assert name.endswith(end)
    assert end.endswith("34.jpg")
