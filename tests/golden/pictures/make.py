#!/usr/bin/env python3
"""Makes corpus.zip: small JPEG files in every layout that the standard allows, and pictures of other formats, each with
the pixels that Pillow (libjpeg-turbo) reads from it as PNG, or without where Pillow refuses it.

    apt-get install libjpeg-turbo-progs; pip install pillow numpy
    python3 tests/golden/pictures/make.py
"""

import hashlib
import io
import pathlib
import struct
import subprocess
import tempfile
import zipfile

import numpy
from PIL import Image, ImageOps

HERE = pathlib.Path(__file__).parent
WORK = tempfile.TemporaryDirectory()
CORPUS = {}


def scene(width, height):
    y, x = numpy.mgrid[:height, :width]
    return numpy.stack(
        [128 + 100 * numpy.sin(x / 9), 128 + 100 * numpy.cos(y / 7 + x / 15), (x * 3 + y * 2) % 230], -1
    ).astype(numpy.uint8)


def cjpeg(*arguments, size=(35, 27), scans=None):
    pixels = scene(*size)
    head = f"P6 {size[0]} {size[1]} 255\n".encode()
    if scans:
        script = pathlib.Path(WORK.name) / "scans"
        script.write_text(scans)
        arguments += ("-scans", str(script))
    command = ["cjpeg", "-quality", "85", *arguments]
    return subprocess.run(command, input=head + pixels.tobytes(), capture_output=True, check=True).stdout


def segments(data):
    """(marker, start, end) of each segment up to the first scan."""
    at = 2
    while True:
        marker, length = data[at + 1], struct.unpack(">H", data[at + 2 : at + 4])[0]
        yield marker, at, at + 2 + length
        if marker == 0xDA:
            return
        at += 2 + length


def without(data, *markers):
    out, last = data[:2], 2
    for marker, start, end in segments(data):
        if marker not in markers:
            out += data[start:end]
        last = end
    return out + data[last:]


def inserted(data, marker, content):
    return data[:2] + bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content + data[2:]


def adobe(data, transform):
    return inserted(without(data, 0xEE), 0xEE, b"Adobe" + struct.pack(">HHHB", 100, 0, 0, transform))


def renamed(data, names):
    """With other numbers of the components, in the frame and in every scan."""
    data = bytearray(data)
    old = []
    for marker, start, _ in segments(bytes(data)):
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            for i, name in enumerate(names):
                old.append(data[start + 10 + 3 * i])
                data[start + 10 + 3 * i] = name
    new = dict(zip(old, names))
    at = 0
    while (at := data.find(b"\xff\xda", at)) >= 0:
        for i in range(data[at + 4]):
            data[at + 5 + 2 * i] = new[data[at + 5 + 2 * i]]
        at += 2
    return bytes(data)


def frame(data, change):
    """With another start of the frame: `change` gets the segment, marker included."""
    for marker, start, end in segments(data):
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            segment = bytearray(data[start:end])
            change(segment)
            return data[:start] + bytes(segment) + data[end:]
    raise ValueError("no frame")


def pillow(image, **options):
    out = io.BytesIO()
    image.save(out, "JPEG", quality=85, **options)
    return out.getvalue()


def add(name, data):
    name += "" if "." in name else ".jpg"
    assert name not in CORPUS, name
    CORPUS[name] = data


def layouts():
    samples = {
        "444": "1x1", "422": "2x1", "440": "1x2", "420": "2x2", "411": "4x1", "141": "1x4", "410": "4x2", "31": "3x1", "13": "1x3",
        "444-as-2x1": "2x1,2x1,2x1", "444-as-1x2": "1x2,1x2,1x2", "422-as-2x2": "2x2,1x2,1x2", "440-as-2x2": "2x2,2x1,2x1",
        "mixed": "2x2,2x1,1x2", "cb-fine": "2x2,2x2,1x1", "cr-fine": "2x2,1x1,2x2", "chroma-finer": "1x1,2x2,2x2", "chroma-finer-across": "1x1,2x1,2x1",
        "chroma-finer-one": "1x1,2x2,1x1", "chroma-crosswise": "2x1,1x2,1x2",
    }
    for name, sample in samples.items():
        add(f"baseline-{name}", cjpeg("-sample", sample))
    for name in ("444", "422", "440", "420", "411", "31", "444-as-2x1", "chroma-finer"):
        sample = ("-sample", samples[name])
        add(f"progressive-{name}", cjpeg("-progressive", *sample))
        add(f"arithmetic-{name}", cjpeg("-arithmetic", *sample))
        add(f"restart-{name}", cjpeg("-restart", "2B", *sample))
        add(f"planes-{name}", cjpeg(*sample, scans="0;1;2;"))

    def fractional(segment):
        segment[14] = segment[17] = 0x21

    add("not-whole", frame(cjpeg("-sample", "3x1"), fractional))
    # Twelve blocks are too many for one scan.
    add("planes-444-as-2x2", cjpeg("-sample", "2x2,2x2,2x2", scans="0;1;2;"))
    add("arithmetic-progressive-420", cjpeg("-arithmetic", "-progressive", "-sample", "2x2"))
    add("restart-rows-420", cjpeg("-restart", "1", "-sample", "2x2"))
    add("restart-progressive-420", cjpeg("-restart", "1B", "-progressive", "-sample", "2x2"))
    add("restart-planes-420", cjpeg("-restart", "1B", "-sample", "2x2", scans="0;1;2;"))
    add("optimised-420", cjpeg("-optimize", "-sample", "2x2"))
    for order in ("2;1;0;", "1;0;2;", "0;1,2;", "0,1;2;", "1,2;0;", "0;2;1;"):
        for name in ("444", "420"):
            add(f"planes-{order.replace(';', '-')}{name}", cjpeg("-sample", samples[name], scans=order))
    add("progressive-few-scans-420", cjpeg("-sample", "2x2", scans="0,1,2: 0-0,0,0;0: 1-63,0,0;1: 1-63,0,0;2: 1-63,0,0;"))
    add("progressive-dc-apart-420", cjpeg("-sample", "2x2", scans="0: 0-0,0,0;1: 0-0,0,0;2: 0-0,0,0;0: 1-63,0,0;1: 1-63,0,0;2: 1-63,0,0;"))
    add("progressive-incomplete-420", cjpeg("-sample", "2x2", scans="0,1,2: 0-0,0,0;0: 1-63,0,0;"))


def sizes():
    for size in ((1, 1), (1, 17), (17, 1), (2, 2), (7, 9), (8, 8), (9, 7), (16, 16), (15, 33), (33, 16), (31, 5)):
        for name, sample in (("444", "1x1"), ("420", "2x2"), ("422", "2x1"), ("440", "1x2")):
            add(f"size-{size[0]}x{size[1]}-{name}", cjpeg("-sample", sample, size=size))
    for size in ((1, 1), (9, 7), (33, 17)):
        add(f"size-{size[0]}x{size[1]}-progressive-420", cjpeg("-progressive", "-sample", "2x2", size=size))


def colours():
    add("grey", cjpeg("-grayscale"))
    add("grey-as-2x2", cjpeg("-grayscale", "-sample", "2x2"))
    add("grey-progressive", cjpeg("-grayscale", "-progressive"))
    add("grey-arithmetic", cjpeg("-grayscale", "-arithmetic"))
    rgb = cjpeg("-rgb")
    add("rgb-by-names", rgb)
    add("rgb-by-adobe", adobe(renamed(rgb, (1, 2, 3)), 0))
    add("rgb-by-adobe-jfif", inserted(adobe(renamed(rgb, (1, 2, 3)), 0), 0xE0, b"JFIF\0\1\1\0\0\1\0\1\0\0"))
    add("rgb-progressive", cjpeg("-rgb", "-progressive"))
    add("rgb-numbered-without-marker", renamed(without(rgb, 0xE0, 0xEE), (1, 2, 3)))
    ycc = without(cjpeg("-sample", "2x2"), 0xE0)
    add("ycc-without-marker", ycc)
    add("ycc-by-adobe", adobe(ycc, 1))
    add("ycc-named-0-1-2", renamed(ycc, (0, 1, 2)))
    add("ycc-named-0-1-2-jfif", renamed(cjpeg("-sample", "2x2"), (0, 1, 2)))
    add("ycc-named-rgb-jfif", renamed(cjpeg(), (ord("R"), ord("G"), ord("B"))))
    add("ycc-other-names", renamed(ycc, (10, 20, 30)))
    small = scene(35, 27)
    grey = numpy.asarray(Image.fromarray(small).convert("L"))
    cmyk = pillow(Image.fromarray(numpy.dstack([255 - small, grey // 3]), "CMYK"))
    add("cmyk-adobe", cmyk)
    add("cmyk-without-marker", without(cmyk, 0xEE))
    add("cmyk-progressive", pillow(Image.fromarray(numpy.dstack([small, grey]), "CMYK"), progressive=True))
    add("ycck-adobe", adobe(cmyk, 2))
    add("ycck-progressive", adobe(pillow(Image.fromarray(numpy.dstack([small, grey]), "CMYK"), progressive=True), 2))

    def halved(segment):
        segment[11], segment[20] = 0x22, 0x22

    add("ycck-2x2", frame(adobe(pillow(Image.fromarray(numpy.dstack([scene(16, 16), scene(16, 16)[..., 0]]), "CMYK")), 2), halved))


def exif():
    for orientation in range(1, 9):
        tags = Image.Exif()
        tags[0x0112] = orientation
        add(f"exif-{orientation}", pillow(Image.fromarray(scene(20, 11)), exif=tags, subsampling=0))
    tags = Image.Exif()
    tags[0x0112] = 9
    add("exif-9", pillow(Image.fromarray(scene(20, 11)), exif=tags, subsampling=0))


def segments_apart():
    plain = cjpeg("-sample", "2x2")
    add("comment-and-fill", inserted(plain, 0xFE, b"a comment \xff\xd9 with an end of picture").replace(b"\xff\xdb", b"\xff\xff\xff\xdb", 1))
    add("profile", inserted(plain, 0xE2, b"ICC_PROFILE\0\1\1" + bytes(200)))
    add("behind-the-end", plain + b"\0" * 40)
    add("quality-1", cjpeg("-quality", "1"))
    add("quality-100", cjpeg("-quality", "100", "-sample", "1x1"))
    add("tables-of-16-bits", cjpeg("-quality", "3", "-sample", "2x2"))

    def bits(segment):
        segment[1], segment[4] = 0xC1, 12

    def kind(marker):
        def change(segment):
            segment[1] = marker

        return change

    add("extended", frame(plain, kind(0xC1)))
    add("12-bits", frame(plain, bits))
    add("lossless", frame(plain, kind(0xC3)))
    add("hierarchical", frame(plain, kind(0xC5)))

    def no_height(segment):
        segment[5:7] = b"\0\0"

    add("height-behind-the-scan", frame(plain, no_height)[:-2] + b"\xff\xdc\0\4\0\x1b\xff\xd9")


def formats():
    rgb = Image.fromarray(scene(20, 11))
    alpha = Image.fromarray(numpy.dstack([scene(20, 11), scene(20, 11)[..., 2]]), "RGBA")
    other = Image.fromarray(scene(20, 11)[::-1].copy())

    def save(name, image, **options):
        out = io.BytesIO()
        image.save(out, name.rsplit(".")[-1].replace("tif", "tiff"), **options)
        add(name, out.getvalue())

    turned = Image.Exif()
    turned[0x0112] = 6
    save("lossy.webp", rgb, quality=80)
    save("lossy-alpha.webp", alpha, quality=80)
    save("lossless.webp", rgb, lossless=True)
    save("lossless-alpha.webp", alpha, lossless=True, exact=True)
    save("turned.webp", rgb, lossless=True, exif=turned)
    save("animated.webp", rgb, lossless=True, save_all=True, append_images=[other])
    save("rgb.bmp", rgb)
    save("palette.bmp", rgb.quantize(16))
    save("grey.bmp", rgb.convert("L"))
    save("bits.bmp", rgb.convert("1"))
    save("alpha.bmp", alpha)
    save("palette.gif", rgb.quantize(64))
    save("animated.gif", rgb.quantize(64), save_all=True, append_images=[other.quantize(64)])
    save("rgb.tif", rgb)
    save("lzw.tif", rgb, compression="tiff_lzw")
    save("deflate.tif", rgb, compression="tiff_adobe_deflate")
    save("packbits.tif", rgb, compression="packbits")
    save("grey.tif", rgb.convert("L"))
    save("bits.tif", rgb.convert("1"))
    save("fax.tif", rgb.convert("1"), compression="group4")
    save("palette.tif", rgb.quantize(16))
    save("cmyk.tif", rgb.convert("CMYK"))
    save("alpha.tif", alpha)
    save("turned.tif", rgb, exif=turned)
    save("jpeg.tif", rgb, compression="jpeg")
    save("several.tif", rgb, save_all=True, append_images=[other])
    save("floating.tif", rgb.convert("F"))
    save("rgb.png", rgb)
    save("palette.png", rgb.quantize(16))
    save("bits.png", rgb.convert("1"))
    save("alpha.png", alpha)
    save("turned.png", rgb, exif=turned)


def golden(data):
    try:
        image = Image.open(io.BytesIO(data))
        # Pillow reads the tags of a TIFF with several pictures only before its pixels.
        image.getexif()
        before = image.size
        image.load()
    except Exception:
        return None
    # Pillow turns a TIFF while it loads it.
    return (ImageOps.exif_transpose(image) if image.size == before else image).convert("RGB")


def write(archive, name, data):
    # A fixed date: the same input gives the same archive.
    archive.writestr(zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0)), data)


def main():
    for part in (layouts, sizes, colours, exif, segments_apart, formats):
        part()
    lines, seen = [], set()
    with zipfile.ZipFile(HERE / "corpus.zip", "w") as archive:
        for name, data in CORPUS.items():
            image = golden(data)
            key = "-"
            if image is not None:
                out = io.BytesIO()
                image.save(out, "PNG", optimize=True)
                key = hashlib.sha256(out.getvalue()).hexdigest()[:12]
                if key not in seen:
                    seen.add(key)
                    write(archive, f"{key}.png", out.getvalue())
            write(archive, name, data)
            lines.append(f"{name} {key}\n")
        # Each picture, and the file with the pixels of Pillow, or - where it refuses the picture.
        write(archive, "index.txt", "".join(lines))
    print(f"{len(CORPUS)} files, {len(seen)} different pictures")


main()
