"""What can be known of data sets without reading them: files that are spoilt, servers that do not answer."""

import socket
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from drill_models.datasets import IMAGE_SIZE, DatasetFacts
from drill_models.resolve import raw_folder

CONNECT_TIMEOUT = 3
"""Seconds that a server has to answer."""


def spoilt_files(facts: DatasetFacts, root: Path) -> list[str]:
    """The files of a data set that have not the size that a search will ask for."""
    sizes = {facts.train_files: facts.train_size, facts.test_files: facts.test_size}
    wrong = []
    for (images, labels), number in sizes.items():
        for name, expected in ((images, 16 + number * IMAGE_SIZE**2), (labels, 8 + number)):
            file = raw_folder(facts, root) / name
            size = file.stat().st_size
            if size != expected:
                wrong.append(f"{file} is corrupt: it has {size:,} bytes instead of {expected:,}")
    return wrong


def unreachable_mirrors() -> str:
    """Why no server of torchvision's for MNIST answers, or nothing if one does, or the proxy before it."""
    from torchvision.datasets import MNIST

    reasons = []
    for mirror in MNIST.mirrors:
        host = port = None
        try:
            host, port = _asked(mirror)
            with socket.create_connection((host, port), timeout=CONNECT_TIMEOUT):
                return ""
        except ValueError:
            reasons.append("the proxy that is set has no address")
        except OSError as error:
            reasons.append(f"{host}: {error.strerror or error}")
    return "; ".join(reasons)


def _asked(url: str) -> tuple[str, int]:
    """Host and port that urllib, by which torchvision downloads, connects to.

    Raises:
        ValueError: A proxy is set whose address is none.
    """
    parts = urlsplit(url)
    proxy = getproxies().get(parts.scheme)
    if proxy and not proxy_bypass(str(parts.hostname)):
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        if not parts.hostname:
            raise ValueError
    return str(parts.hostname), parts.port or (443 if parts.scheme == "https" else 80)
