"""What input may cost at most, however small its file is: every budget, with its reason.

Files that people share can be written so that reading them takes all memory, or ends in the limit
of Python's call stack. They are refused by an ``OverBudget`` that names file and budget. The
numbers are read at each use, so that ``budgets.PIXELS = 2**32`` raises one for a process.
"""

# Values of a YAML file with its aliases written out, which repeat what they stand for: nine lines
# of nine aliases each make 387 million. The largest honest file, a data.yaml of ImageNet-22K's
# names, has 44,000.
YAML_NODES = 1_000_000
YAML_DEPTH = 50  # mappings and lists inside each other, also through aliases; ours have 6
JSON_DEPTH = 100  # objects and lists inside each other; COCO has 6
# Pixels that an image may say it has. 2**31 hold whole aerial mosaics, and take 8 GiB while they
# are decoded; beyond that an ordinary machine has no memory left, and scans need a reader of
# regions. Pillow alone refuses 179 million, where tiles have just begun to be useful.
PIXELS = 2**31
# Pixels up to which ``predict --tile`` holds a TIFF as a whole, 384 MiB; others come in windows.
PIXELS_AT_ONCE = 2**27
# An image of more pixels than this must be as large a file as its pixels can be packed into.
PIXELS_OF_ANY_FILE = 2**26
# Deflate packs 1,032 bytes into one at best, which is 8,256 pixels of one bit (zlib's
# "Maximum Compression Factor"); a JPEG has 340 pixels of a byte at best.
PIXELS_PER_BYTE = 10_000


class OverBudget(ValueError):
    """Input would cost more than its budget; the message names file and budget."""
