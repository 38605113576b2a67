"""From a JPEG or PNG file to a square of pixels.

Testing: scale the shorter side, cut out the middle. Training: cut out a random part, scale it, mirror it or not
(Szegedy et al., 2015, section 6), which is how networks for ImageNet are trained. Scaling is bilinear with
antialiasing. Like torchvision's `ImageFolder`, this ignores transparency and the orientation that a camera noted, so
that published networks see the pixels that they were measured with.
"""

import math
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

__all__ = ["DRAWS", "center_box", "decode", "decode_square", "random_box"]

#: Random numbers that `random_box` uses up, whatever the picture.
DRAWS = 40

_TRIES = DRAWS // 4
_AREA = (0.08, 1.0)
_ASPECT = (3 / 4, 4 / 3)

Box = tuple[float, float, float, float]

# What Pillow's decoders raise on damaged files. An OSError is one of them too: see `decode`.
_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    LookupError,
    ArithmeticError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)


@contextmanager
def decode(path: Path) -> Iterator[Image.Image]:
    """Open the picture at `path` and decode it completely, as RGB; it is closed at the end of the block.

    Raises
    ------
    OSError
        There is no such file, or it may not be read.
    ValueError
        It is no complete JPEG or PNG file, or has more than Pillow's ``Image.MAX_IMAGE_PIXELS`` pixels.
    """
    with path.open("rb") as file:
        try:
            with Image.open(file, formats=("JPEG", "PNG")) as opened:
                limit = Image.MAX_IMAGE_PIXELS
                # Pillow itself only warns up to twice the limit.
                if limit is not None and opened.width * opened.height > limit:
                    raise ValueError(f"{opened.width} x {opened.height} pixels, of which {limit} are allowed")
                picture = _as_rgb(opened)
        except _DAMAGE as error:
            reason = "unknown kind of file" if isinstance(error, Image.UnidentifiedImageError) else error
            raise ValueError(f"{path} must be a JPEG or PNG picture that can be decoded: {reason}") from error
    with picture:
        yield picture


def _as_rgb(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I"):
        # 16 bits a pixel: Pillow would saturate at 255, so that nearly everything became white.
        return Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8)).convert("RGB")
    if picture.mode == "P" and isinstance(picture.info.get("transparency"), bytes):
        # Straight to RGB gives the same colours, but Pillow warns.
        return picture.convert("RGBA").convert("RGB")
    return picture.convert("RGB")


def decode_square(path: Path, size: int, keep: float, draws: np.ndarray | None = None) -> np.ndarray:
    """Decode `path` to uint8 of shape (3, size, size).

    Parameters
    ----------
    keep : float
        Share of the shorter side that is cut out to test; see `center_box`.
    draws : array, shape (DRAWS + 1,), optional
        Uniform random numbers from 0 to 1, which choose part and mirroring to train with; left out: to test.

    Raises
    ------
    OSError, ValueError
        See `decode`.
    """
    with decode(path) as picture:
        if draws is None:
            box = center_box(picture.width, picture.height, size, keep)
        else:
            box = random_box(picture.width, picture.height, draws[:DRAWS])
        # Only the part inside the box is ever scaled: a strip of 1 x 100000 pixels costs no more than a square.
        pixels = np.asarray(picture.resize((size, size), Image.Resampling.BILINEAR, box=box))
    if draws is not None and draws[DRAWS] < 0.5:
        pixels = pixels[:, ::-1]
    return pixels.transpose(2, 0, 1)


def center_box(width: int, height: int, size: int, keep: float) -> Box:
    """Left, top, right and bottom of the middle of a picture, in its own pixels.

    Scaled to `size`, it is what remains if the shorter side of the picture is scaled to ``round(size / keep)``, the
    other one in proportion, rounded down, and `size` x `size` pixels are cut out of the middle. Single pixels may
    differ from those two steps by rounding, one or two units of 255.
    """
    short = round(size / keep)
    scaled = (short * width // min(width, height), short * height // min(width, height))
    left, top = (round((side - size) / 2) for side in scaled)
    across, down = width / scaled[0], height / scaled[1]
    # A rounded product may come out above the edge, which Pillow refuses.
    return left * across, top * down, min((left + size) * across, width), min((top + size) * down, height)


def random_box(width: int, height: int, draws: np.ndarray) -> Box:
    """Left, top, right and bottom of a random part of a picture, in whole pixels.

    Its area is from 8 % to 100 % of the picture's, its width from 3/4 to 4/3 of its height (even in the logarithm),
    its place anywhere. Where ten tries do not fit into the picture, it is the largest middle part that is not more
    oblong.

    Parameters
    ----------
    draws : array, shape (DRAWS,)
        Uniform random numbers from 0 to 1: their number does not depend on the picture, so that one picture's size
        has no influence on another's part.
    """
    for area, aspect, x, y in draws.reshape(_TRIES, 4):
        pixels = width * height * (_AREA[0] + (_AREA[1] - _AREA[0]) * area)
        ratio = _ASPECT[0] * (_ASPECT[1] / _ASPECT[0]) ** aspect
        across, down = round(math.sqrt(pixels * ratio)), round(math.sqrt(pixels / ratio))
        if 0 < across <= width and 0 < down <= height:
            left, top = int(x * (width - across + 1)), int(y * (height - down + 1))
            return left, top, left + across, top + down
    across = max(1, min(width, round(height * _ASPECT[1])))
    down = max(1, min(height, round(width / _ASPECT[0])))
    left, top = (width - across) // 2, (height - down) // 2
    return left, top, left + across, top + down
