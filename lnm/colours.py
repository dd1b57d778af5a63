"""A picture of any kind as 8-bit sRGB: what its numbers mean, and what shows through."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageCms

PAPER = 255  # what shows through transparent pixels: white, as on a page


def to_srgb(picture: Image.Image) -> Image.Image:
    """A picture in sRGB, by the ICC profile that it brings; as it is, where it brings none or one that is no use."""
    profile = picture.info.get("icc_profile")
    if not profile or picture.mode not in ("RGB", "RGBA", "CMYK", "LAB"):
        return picture
    try:
        own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "sRGB" in (ImageCms.getProfileDescription(own) or ""):
            return picture
        mode = "RGBA" if picture.mode == "RGBA" else "RGB"
        return ImageCms.profileToProfile(picture, own, ImageCms.createProfile("sRGB"), outputMode=mode) or picture
    except ImageCms.PyCMSError:
        return picture


def flatten(picture: Image.Image) -> Image.Image:
    """A picture of any of Pillow's modes as 8-bit RGB: 16 bits a pixel are scaled, transparency is laid on white."""
    if picture.mode.startswith("I"):  # 16 bits a pixel: convert() would clip it at 255 instead of scaling
        picture = Image.fromarray((np.asarray(picture, np.float64) / 257).round().clip(0, 255).astype(np.uint8))
    if picture.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, (PAPER,) * 3 + (255,)), picture)
    return picture.convert("RGB")
