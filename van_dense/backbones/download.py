"""Published weights of VAN and its relatives: names, and a cached, resumable, checked download.

Sources: the authors' files on the Hugging Face hub (VAN-Classification README), and the converted
files of mmpretrain (configs/van) and mmsegmentation (projects/van, configs/segnext); the files of
LSKNet's authors on OpenMMLab's server; those of MogaNet and UniRepLKNet from their authors.
"""

import difflib
import hashlib
import logging
import re
import shutil
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple
from urllib.parse import urlsplit

from filelock import FileLock
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from van_dense.core.digest import sha256_of
from van_dense.core.paths import cache_folder

HUB = "huggingface_hub"  # the logger that tells of each retry, before an error that says as much

logger = logging.getLogger(__name__)

_TIMEOUT = 30  # seconds without a byte
_CHUNK = 1 << 20  # bytes


class DownloadError(ValueError):
    """Weights cannot be fetched; the message names the address and where to put the file."""


class Normalization(NamedTuple):
    """Mean and standard deviation of each channel, RGB, of pixels in 0..1."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class Published:
    """Address of a published file, and the statistics that its training normalised images with.

    A classifier must repeat them; dense prediction learns anew, with those of ImageNet. None where
    nobody has published them.
    """

    url: str
    normalization: Normalization | None
    licence: str = "apache-2.0"


_HUB = "https://huggingface.co/Visual-Attention-Network"
_MMCLS = "https://download.openmmlab.com/mmclassification/v0/van"
_MMSEG = "https://download.openmmlab.com/mmsegmentation/v0.5/van_3rdparty"
# The 1K weights: _cfg of timm 0.4.12 in VAN-Classification, and mmpretrain's configs/van.
_HALF = Normalization((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
# The 22K weights: datasets.py and main.py of the authors' ImageNet-22k code.
IMAGENET = Normalization(IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)

_IN1K = {
    "van_b0_in1k": f"{_HUB}/VAN-Tiny-original/resolve/main/van_tiny_754.pth.tar",
    "van_b1_in1k": f"{_HUB}/VAN-Small-original/resolve/main/van_small_811.pth.tar",
    "van_b2_in1k": f"{_HUB}/VAN-Base-original/resolve/main/van_base_828.pth.tar",
    "van_b3_in1k": f"{_HUB}/VAN-Large-original/resolve/main/van_large_839.pth.tar",
    "van_b4_in1k": f"{_MMCLS}/van-b4_3rdparty_in1k_20220909-f4665b92.pth",
    # The same weights from other hosts, in file names that carry a hash.
    "van_b0_in1k_mmpretrain": f"{_MMCLS}/van-tiny_8xb128_in1k_20220501-385941af.pth",
    "van_b1_in1k_mmpretrain": f"{_MMCLS}/van-small_8xb128_in1k_20220501-17bc91aa.pth",
    "van_b2_in1k_mmpretrain": f"{_MMCLS}/van-base_8xb128_in1k_20220501-6a4cc31b.pth",
    "van_b3_in1k_mmpretrain": f"{_MMCLS}/van-large_8xb128_in1k_20220501-f212ba21.pth",
    "van_b0_in1k_mmseg": f"{_MMSEG}/van-b0_3rdparty_20230522-956f5e0d.pth",
}
_IN22K = {
    "van_b4_in22k": f"{_MMCLS}/van-b4_3rdparty_in21k_20220909-db926b18.pth",
    "van_b5_in22k": f"{_MMCLS}/van-b5_3rdparty_in21k_20220909-18e904e3.pth",
    "van_b6_in22k": f"{_MMCLS}/van-b6_3rdparty_in21k_20220909-96c2cb3a.pth",
    "van_b4_in22k_mmseg": f"{_MMSEG}/van-b4-in22k_3rdparty_20230522-5e31cafb.pth",
    "van_b5_in22k_mmseg": f"{_MMSEG}/van-b5-in22k_3rdparty_20230522-b26134d7.pth",
    "van_b6_in22k_mmseg": f"{_MMSEG}/van-b6-in22k_3rdparty_20230522-5e5172a3.pth",
}
# README of Westlake-AI/MogaNet, all trained with ImageNet's statistics (models/moganet.py there).
_MOGA = "https://github.com/Westlake-AI/MogaNet/releases/download/moganet-in1k-weights/moganet"
_MOGANET = {
    "moganet_xt_in1k": f"{_MOGA}_xtiny_sz224_8xbs128_ep300.pth.tar",
    "moganet_xt_in1k_256": f"{_MOGA}_xtiny_sz256_8xbs128_ep300.pth.tar",
    "moganet_t_in1k": f"{_MOGA}_tiny_sz224_8xbs128_ep300.pth.tar",
    "moganet_t_in1k_256": f"{_MOGA}_tiny_sz256_8xbs128_ep300.pth.tar",
    "moganet_s_in1k": f"{_MOGA}_small_sz224_8xbs128_ep300.pth.tar",
    "moganet_b_in1k": f"{_MOGA}_base_sz224_8xbs128_ep300.pth.tar",
    "moganet_l_in1k": f"{_MOGA}_large_sz224_8xbs64_ep300.pth.tar",
    "moganet_xl_in1k": f"{_MOGA}_xlarge_sz224_8xbs64_ep300.pth.tar",
}
# unireplknet.py of AILab-CVC/UniRepLKNet; ImageNet's statistics too (main.py there). timm takes the
# first of a size for its default.
_UNIREP = "https://huggingface.co/DingXiaoH/UniRepLKNet/resolve/main/unireplknet"
_UNIREPLKNET = {
    "unireplknet_a_in1k": f"{_UNIREP}_a_in1k_224_acc77.03.pth",
    "unireplknet_f_in1k": f"{_UNIREP}_f_in1k_224_acc78.58.pth",
    "unireplknet_p_in1k": f"{_UNIREP}_p_in1k_224_acc80.23.pth",
    "unireplknet_n_in1k": f"{_UNIREP}_n_in1k_224_acc81.64.pth",
    "unireplknet_t_in1k": f"{_UNIREP}_t_in1k_224_acc83.21.pth",
    "unireplknet_s_in1k": f"{_UNIREP}_s_in1k_224_acc83.91.pth",
    "unireplknet_s_in22k_in1k_384": f"{_UNIREP}_s_in22k_to_in1k_384_acc86.44.pth",
    "unireplknet_b_in22k_in1k_384": f"{_UNIREP}_b_in22k_to_in1k_384_acc87.40.pth",
    "unireplknet_l_in22k_in1k_384": f"{_UNIREP}_l_in22k_to_in1k_384_acc87.88.pth",
    "unireplknet_xl_in22k_in1k_384": f"{_UNIREP}_xl_in22k_to_in1k_384_acc87.96.pth",
    "unireplknet_s_in22k": f"{_UNIREP}_s_in22k_pretrain.pth",
    "unireplknet_b_in22k": f"{_UNIREP}_b_in22k_pretrain.pth",
    "unireplknet_l_in22k": f"{_UNIREP}_l_in22k_pretrain.pth",
    "unireplknet_xl_in22k": f"{_UNIREP}_xl_in22k_pretrain.pth",
}
_SEGNEXT = "https://download.openmmlab.com/mmsegmentation/v0.5/pretrain/segnext"
_MSCAN = {  # no code of their training was published; in names of mmseg
    "mscan_t_in1k": f"{_SEGNEXT}/mscan_t_20230227-119e8c9f.pth",
    "mscan_s_in1k": f"{_SEGNEXT}/mscan_s_20230227-f33ccdf2.pth",
    "mscan_b_in1k": f"{_SEGNEXT}/mscan_b_20230227-3ab7d230.pth",
    "mscan_l_in1k": f"{_SEGNEXT}/mscan_l_20230227-cef260d4.pth",
}
_LSK = "https://download.openmmlab.com/mmrotate/v1.0/lsknet/backbones"
_LSKNET = {
    "lsknet_t_in1k": f"{_LSK}/lsk_t_backbone-2ef8a593.pth",
    "lsknet_s_in1k": f"{_LSK}/lsk_s_backbone-e9d2e551.pth",
}
_NON_COMMERCIAL = "cc-by-nc-4.0"
PUBLISHED = (
    {name: Published(url, _HALF) for name, url in _IN1K.items()}
    | {name: Published(url, IMAGENET) for name, url in (_IN22K | _MOGANET | _UNIREPLKNET).items()}
    | {name: Published(url, None) for name, url in _MSCAN.items()}
    | {name: Published(url, IMAGENET, _NON_COMMERCIAL) for name, url in _LSKNET.items()}
)


def fetch_weights(name_or_path: str | Path, cache_dir: str | Path | None = None) -> Path:
    """Return the file of published weights, downloading it once, or a local file as it is.

    A warning says where they are for non-commercial use alone.

    Args:
        name_or_path: A name of ``PUBLISHED``, an address (https://...) of a file, or a file, which
            needs no network.
        cache_dir: Where downloads are kept; by default ``$XDG_CACHE_HOME/van_dense``, or
            ``~/.cache/van_dense``.

    Raises:
        DownloadError: When it cannot be fetched, is cut short, or has a hash not of its name.
        ValueError: When there is neither such a file nor such a name.
    """
    path = Path(name_or_path).expanduser()
    if not path.is_file():
        path = _downloaded(str(name_or_path), cache_dir)
    if published := published_file(path):
        warn_of_licence(path.name, published.licence)
    return path


def published_file(path: Path) -> Published | None:
    """What is known of a file that has the name of a published one, wherever it lies."""
    names = {published.url.rsplit("/", 1)[-1]: published for published in PUBLISHED.values()}
    return names.get(path.name)


def warn_of_licence(name: str, licence: str) -> None:
    """Warn of weights for non-commercial use, by the name of their licence as timm writes it."""
    if licence == _NON_COMMERCIAL:
        message = "%s: these weights are for non-commercial use alone (CC BY-NC 4.0)"
        logger.warning(message, name)


def _downloaded(name: str, cache_dir: str | Path | None) -> Path:
    url = _address_of(name)
    folder = Path(cache_dir) if cache_dir else cache_folder()
    if url == name:  # many files on the web have the same name
        folder = folder / hashlib.sha256(url.encode()).hexdigest()[:12]
    target = folder / PurePosixPath(urlsplit(url).path).name
    if not target.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{target}.lock"):  # several processes of one run ask at the same time
            if not target.is_file():
                _download(url, target)
    _check_hash(target, target.name)  # a file put there by hand may be another one
    return target


def _address_of(name: str) -> str:
    if name.startswith(("https://", "http://")) and PurePosixPath(urlsplit(name).path).suffix:
        return name
    if name in PUBLISHED:
        return PUBLISHED[name].url
    near = difflib.get_close_matches(name, PUBLISHED, n=3, cutoff=0.4)
    raise ValueError(
        f"weights {name!r} are neither a file nor a run folder nor the address of a file nor a "
        f"published name; nearest names: {near or sorted(PUBLISHED)}"
    )


def _download(url: str, target: Path) -> None:
    """Fetch into ``<target>.part``, going on where an earlier attempt stopped, then rename."""
    part = Path(f"{target}.part")
    logger.info("downloading %s to %s", url, target)
    try:
        _append_rest(url, part)
    except (OSError, urllib.error.URLError) as error:
        raise DownloadError(
            f"cannot download {url} ({error}); run again to go on where it stopped, or fetch it "
            f"by other means and put it at {target}, or name the file instead (a training starts "
            "from random weights with model.backbone.weights=null)"
        ) from error
    try:
        _check_hash(part, target.name)
    except DownloadError:
        part.unlink()  # going on from damaged bytes would never end well
        raise
    part.replace(target)


def _append_rest(url: str, part: Path) -> None:
    done = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={done}-"} if done else {})
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == 416 and done == _total_size(error.headers.get("Content-Range")):
            return  # every byte was there already, only the rename was missing
        if error.code == 416:
            part.unlink()  # longer than the published file: start over next time
        raise
    with response:
        resumed = response.status == 206
        expected = int(response.headers.get("Content-Length", -1))
        with part.open("ab" if resumed else "wb") as file:
            _copy(response, file, expected)


def _copy(source: BinaryIO, file: BinaryIO, expected: int) -> None:
    start = file.tell()
    shutil.copyfileobj(source, file, _CHUNK)
    received = file.tell() - start
    if expected >= 0 and received != expected:
        raise OSError(f"connection closed after {received} of {expected} bytes")


def _total_size(content_range: str | None) -> int | None:
    """Size of the whole file in a header such as ``bytes */1234``."""
    match = re.fullmatch(r"bytes .*/(\d+)", content_range or "")
    return int(match[1]) if match else None


def _check_hash(file_path: Path, name: str) -> None:
    """Compare with the first digits of the SHA-256 in names such as ``van-b4-f4665b92.pth``."""
    match = re.search(r"-([0-9a-f]{8})\.", name)
    if match is None:
        return
    digest = sha256_of(file_path)
    if not digest.startswith(match[1]):
        found = f"the SHA-256 begins with {digest[:8]}, but the name says {match[1]}"
        raise DownloadError(f"{file_path}: {found}; remove the damaged or other file and run again")
