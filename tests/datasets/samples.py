"""Small data sets, and the bytes of files that hold them."""

import functools
import http.server
import json
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from fastnn.datasets import Dataset

DIGITS = tuple("0123456789")


def images(n: int, seed: int = 0) -> NDArray[np.uint8]:
    """Return `n` different images, white in their upper half."""
    made = np.random.default_rng(seed).integers(0, 256, (n, 784), dtype=np.uint8)
    made[:, :392] = 255
    return made


def dataset(labels: list[int], classes: tuple[str, ...] = DIGITS, *, test: Dataset | None = None) -> Dataset:
    return Dataset(images(len(labels)), np.array(labels, dtype=np.int64), classes, "a sample", test)


def digit(label: object = 3, *, pixels: int = 784, **changed: object) -> dict[str, object]:
    """Return one digit in the original's format; `changed` replaces pixels by position, as ``p5=256``."""
    image: list[object] = [255] * pixels
    for place, value in changed.items():
        image[int(place[1:])] = value
    return {"image": image, "label": label}


def json_bytes(*items: object) -> bytes:
    return json.dumps(items).encode()


def idx_images(count: int, content: bytes, *, magic: int = 0x0803, side: int = 28) -> bytes:
    return struct.pack(">4I", magic, count, side, side) + content


def idx_labels(count: int, content: bytes, *, magic: int = 0x0801) -> bytes:
    return struct.pack(">2I", magic, count) + content


class _Handler(http.server.BaseHTTPRequestHandler):
    def __init__(self, files: dict[str, bytes], asked: list[str], *args: object) -> None:
        self._files, self._asked = files, asked
        super().__init__(*args)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        self._asked.append(self.path)
        content = self._files.get(self.path)
        self.send_response(404 if content is None else 200)
        self.send_header("Content-Length", str(len(content or b"")))
        self.end_headers()
        self.wfile.write(content or b"")

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def served(files: dict[str, bytes]) -> Iterator[tuple[str, list[str]]]:
    """Serve `files` (path to content) locally; yields the address, ending with a slash, and the requested paths."""
    asked: list[str] = []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Handler, files, asked)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/", asked
        finally:
            server.shutdown()
            thread.join()
