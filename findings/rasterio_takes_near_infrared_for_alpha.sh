#!/usr/bin/env bash
# Four bands of 8 bits, written as they come, make near infrared an alpha channel: colours vanish
# where it is 0, and are weighted by it when the image is resampled; 16 bits are left alone.
#
# Package:  rasterio 1.4.4 (with its GDAL 3.10.3) and numpy 2.4.6.
# Expected: bands are bands; what happens to red depends on red, and 8 and 16 bits are treated alike
#           (`nodata` is unset, and nobody has asked for a mask).
# Happens:  a GeoTIFF of three or four bands of uint8 is RGB by default, and a fourth band is tagged
#           as alpha, without a word. merge() then takes what has no alpha for a hole and leaves it
#           black, masked reading masks it, and reading at a lower resolution with bilinear or cubic
#           weights the other bands by it.
# Matters:  water has almost no near infrared and vegetation has much of it: mosaics and reduced
#           copies of aerial images lose their lakes, and the colours of mixed pixels lean towards
#           the vegetation. Training tiles of the same scene differ with the bit depth.
# Seen:     uint8:  fourth band alpha, masked 50 %, red of merged water 0, reduced red 56
#           uint16: fourth band undefined, masked 0 %, red of merged water 100, reduced red 80
#           uint8 with photometric=MINISBLACK:
#                   fourth band undefined, masked 0 %, red of merged water 100, reduced red 80
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check rasterio==1.4.4 numpy==2.4.6
cd "$work"
"$work/venv/bin/python" -W ignore - <<'PY'
import numpy as np
import rasterio
from rasterio.enums import Resampling
from rasterio.merge import merge
from rasterio.transform import from_origin


def write(name, bands, **options):
    count, height, width = bands.shape
    place = from_origin(500000, 5000000, 10, 10)
    with rasterio.open(name, "w", driver="GTiff", count=count, height=height, width=width,
                       dtype=bands.dtype, crs="EPSG:32633", transform=place, **options) as file:
        file.write(bands)


def measure(kind, **options):
    lake = np.full((4, 60, 60), 100, kind)
    lake[3, :, :30] = 0  # water
    write("lake.tif", lake, **options)
    edge = np.zeros((4, 4, 4), kind)
    edge[0, :, :2], edge[3, :, :2] = 40, 200  # a meadow
    edge[0, :, 2:], edge[3, :, 2:] = 120, 50  # and a road
    write("edge.tif", edge, **options)
    with rasterio.open("lake.tif") as file:
        fourth = file.colorinterp[3].name
        masked = np.ma.getmaskarray(file.read(1, masked=True)).mean()
        merged = merge([file])[0][0, 0, 0]
    with rasterio.open("edge.tif") as file:
        red = file.read(1, out_shape=(1, 1), resampling=Resampling.bilinear)[0, 0]
    print(f"fourth band {fourth}, masked {100 * masked:.0f} %, "
          f"red of merged water {merged}, reduced red {red}")
    return fourth, masked, int(merged), int(red)


print("uint8:  ", end="")
eight = measure(np.uint8)
print("uint16: ", end="")
sixteen = measure(np.uint16)
print("uint8 with photometric=MINISBLACK:\n        ", end="")
assert measure(np.uint8, photometric="MINISBLACK") == sixteen
assert eight == ("alpha", 0.5, 0, 56), "changed: the fourth band is no longer taken for alpha"
assert sixteen == ("undefined", 0, 100, 80), "changed: 16 bits are treated as 8 were"
PY
