#!/usr/bin/env python3
"""Makes data/: picture files with the pixels that Pillow reads from them, and checksums of pictures
resized by Pillow and OpenCV. Run once, with numpy, Pillow 13.0.0 and opencv-python-headless 5.0.0;
the tests need none of them."""

import io
import json
import math
import pathlib
import struct
import zlib

import cv2
import numpy as np
from PIL import Image, ImageOps

DATA = pathlib.Path(__file__).parent / "data"
random = np.random.default_rng(20)
tensors, sums = {}, {}


def save_safetensors(path, arrays):
    header, body = {}, b""
    for name, array in arrays.items():
        raw = np.ascontiguousarray(array, dtype=np.uint8).tobytes()
        header[name] = {"dtype": "U8", "shape": list(array.shape), "data_offsets": [len(body), len(body) + len(raw)]}
        body += raw
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)


def keep(name, file):
    """Stores a file and what it looks like."""
    picture = ImageOps.exif_transpose(Image.open(io.BytesIO(file))).convert("RGB")
    tensors[name + ".file"] = np.frombuffer(file, np.uint8)
    if picture.width * picture.height <= 10_000:
        tensors[name + ".rgb"] = np.asarray(picture)
    else:
        sums[name] = {"size": list(picture.size), "crc32": zlib.crc32(picture.tobytes())}


def scene(width, height, colours):
    """Waves with some noise: smooth enough for lossy formats, different at every place."""
    y, x, c = np.mgrid[0:height, 0:width, 0:colours]
    wave = 128 + 90 * np.sin(x * (0.21 + 0.1 * c) + 2 * c) * np.cos(y * 0.17 - c)
    return np.clip(wave + random.normal(0, 12, wave.shape), 0, 255).astype(np.uint8)


def encoded(array, mode, form, **options):
    out = io.BytesIO()
    Image.fromarray(array[..., 0] if array.shape[2] == 1 else array, mode).save(out, form, **options)
    return out.getvalue()


# JPEG
for name, subsampling in (("420", 2), ("422", 1), ("444", 0)):
    keep("jpeg-" + name, encoded(scene(43, 29, 3), "RGB", "JPEG", quality=88, subsampling=subsampling))
keep("jpeg-progressive", encoded(scene(50, 34, 3), "RGB", "JPEG", quality=80, progressive=True))
keep("jpeg-restarts", encoded(scene(50, 34, 3), "RGB", "JPEG", quality=80, restart_marker_blocks=2))
keep("jpeg-gray", encoded(scene(21, 18, 1), "L", "JPEG", quality=90))
keep("jpeg-rgb", encoded(scene(21, 18, 3), "RGB", "JPEG", quality=90, keep_rgb=True))
cmyk = encoded(scene(26, 19, 4), "CMYK", "JPEG", quality=92)
keep("jpeg-cmyk", cmyk)
adobe = cmyk.index(b"Adobe")
keep("jpeg-ycck", cmyk[: adobe + 11] + b"\2" + cmyk[adobe + 12 :])
keep("jpeg-one-pixel", encoded(scene(1, 1, 3), "RGB", "JPEG"))
keep("jpeg-wide", encoded(scene(30000, 2, 3), "RGB", "JPEG", quality=10))
exif = Image.Exif()
for value in range(1, 9):
    exif[0x0112] = value
    keep(f"jpeg-orientation-{value}", encoded(scene(12, 7, 3), "RGB", "JPEG", quality=95, exif=exif.tobytes()))


# PNG, by hand: scan lines of random bytes with random filters are as good as any.
def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def scan_lines(width, height, bits):
    row = (width * bits + 7) // 8
    lines = b""
    for _ in range(height if width else 0):
        lines += bytes([random.integers(5)]) + random.integers(0, 256, row, dtype=np.uint8).tobytes()
    return lines


def png(width, height, depth, kind, interlaced=False, before=b"", after=b""):
    bits = depth * CHANNELS[kind]
    if interlaced:
        raw = b""
        for x, y, dx, dy in PASSES:
            raw += scan_lines(max(-(-(width - x) // dx), 0), max(-(-(height - y) // dy), 0), bits)
    else:
        raw = scan_lines(width, height, bits)
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, int(interlaced)))
    body = chunk(b"IDAT", zlib.compress(raw, 9))
    return b"\x89PNG\r\n\x1a\n" + head + before + body + after + chunk(b"IEND", b"")


def palette(entries):
    return chunk(b"PLTE", random.integers(0, 256, entries * 3, dtype=np.uint8).tobytes())


for kind, depths in {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}.items():
    for depth in depths:
        before = palette(1 << depth) if kind == 3 else b""
        for interlaced in (False, True):
            name = f"png-{kind}-{depth}" + ("-interlaced" if interlaced else "")
            keep(name, png(13, 9, depth, kind, interlaced, before))
keep("png-short-palette", png(13, 9, 8, 3, False, palette(7)))
keep("png-palette-transparency", png(13, 9, 4, 3, False, palette(16) + chunk(b"tRNS", bytes(range(0, 160, 10)))))
keep("png-colour-key", png(5, 4, 8, 2, False, chunk(b"tRNS", struct.pack(">3H", 1, 2, 3))))
keep("png-gamma", png(5, 4, 8, 2, False, chunk(b"gAMA", struct.pack(">I", 100000))))
exif[0x0112] = 6
orientation = exif.tobytes().removeprefix(b"Exif\0\0")
keep("png-exif-before", png(5, 4, 8, 2, False, chunk(b"eXIf", orientation)))
keep("png-exif-after", png(5, 4, 8, 2, False, b"", chunk(b"eXIf", orientation)))
tall = encoded(np.zeros((30000, 2, 3), np.uint8) + scene(2, 1, 3), "RGB", "PNG")
keep("png-tall", tall)

# WebP
keep("webp-lossy", encoded(scene(37, 26, 3), "RGB", "WEBP", quality=80))
keep("webp-lossy-alpha", encoded(scene(37, 26, 4), "RGBA", "WEBP", quality=80, exact=True))
keep("webp-lossless", encoded(scene(17, 11, 3), "RGB", "WEBP", lossless=True))
keep("webp-lossless-alpha", encoded(scene(17, 11, 4), "RGBA", "WEBP", lossless=True, exact=True))
keep("webp-orientation", encoded(scene(17, 11, 3), "RGB", "WEBP", lossless=True, exif=exif.tobytes()))


def bare(array, mode):
    """The one chunk of a still picture without its RIFF header."""
    return encoded(array, mode, "WEBP", lossless=True, exact=True)[12:]


def riff(chunks):
    return b"RIFF" + struct.pack("<I", len(chunks) + 4) + b"WEBP" + chunks


def webp_chunk(kind, data):
    return kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)


def u24(number):
    return struct.pack("<I", number)[:3]


def frame(x, y, array):
    head = u24(x // 2) + u24(y // 2) + u24(array.shape[1] - 1) + u24(array.shape[0] - 1) + u24(100) + b"\2"
    return webp_chunk(b"ANMF", head + bare(array, "RGBA" if array.shape[2] == 4 else "RGB"))


canvas = webp_chunk(b"VP8X", b"\x12\0\0\0" + u24(19) + u24(13))
colours = webp_chunk(b"ANIM", b"\x10\x20\x30\xff" + b"\0\0")
keep("webp-animated", riff(canvas + colours + frame(4, 2, scene(9, 7, 4)) + frame(0, 0, scene(20, 14, 3))))

save_safetensors(DATA / "pictures.safetensors", tensors)


# Resizing. The tests make the same noise.
def noise(width, height):
    index = np.arange(width * height * 3, dtype=np.uint64)
    return ((index * 2654435761 % 2**32) >> 24).astype(np.uint8).reshape(height, width, 3)


def smart(width, height, factor, low, high):
    to_height, to_width = round(height / factor) * factor, round(width / factor) * factor
    if to_height * to_width > high:
        beta = math.sqrt(height * width / high)
        to_height = max(factor, math.floor(height / beta / factor) * factor)
        to_width = max(factor, math.floor(width / beta / factor) * factor)
    elif to_height * to_width < low:
        beta = math.sqrt(low / (height * width))
        to_height = math.ceil(height * beta / factor) * factor
        to_width = math.ceil(width * beta / factor) * factor
    return [to_width, to_height]


pairs = [(640, 480, 320, 240), (640, 480, 1280, 960), (1920, 1080, 640, 360), (300, 200, 301, 199), (97, 61, 96, 64)]
pairs += [(1, 1, 7, 5), (7, 5, 1, 1), (3000, 2, 96, 32), (2, 900, 2, 31), (50, 40, 50, 20), (50, 40, 25, 40), (8, 8, 8, 8)]
for _ in range(60):
    pairs.append(tuple(int(n) for n in random.integers(1, 130, 4)))
resized = []
for width, height, to_width, to_height in pairs:
    picture = noise(width, height)
    size = (to_width, to_height)
    cubic = Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC)
    linear = cv2.resize(picture, size, interpolation=cv2.INTER_LINEAR)
    resized.append(
        {"from": [width, height], "to": list(size), "bicubic": zlib.crc32(cubic.tobytes()), "bilinear": zlib.crc32(linear.tobytes())}
    )
sizes = []
for _ in range(100):
    width, height = (int(n) for n in 2 ** random.uniform(3, 13.5, 2))
    if max(width, height) > 200 * min(width, height):
        continue
    for rule in ((32, 65536, 16777216), (32, 4096, 16384), (28, 3136, 1003520)):
        sizes.append({"from": [width, height], "rule": rule, "to": smart(width, height, *rule)})
(DATA / "numbers.json").write_text(
    '{"resized": [\n' + ",\n".join(map(json.dumps, resized)) + '],\n"smart": [\n'
    + ",\n".join(map(json.dumps, sizes)) + '],\n"large": ' + json.dumps(sums) + "}\n"
)
