"""A process that decodes images: `python -m onnxrich.data.images.decoder_process`, started by `pool`."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from onnxrich._utils.files import open_regular
from onnxrich.data.images.decode import ImageSpec, UnreadableError
from onnxrich.data.preprocessing.steps import Preprocessing
from onnxrich.errors import DataError


def main() -> None:
    """Answer requests until the pipe is closed."""
    answer, requests = _own_stdout(), sys.stdin.buffer
    about = json.loads(requests.readline())
    look = ImageSpec(Preprocessing.of(about["steps"]), about["channels"])
    while line := requests.readline():
        items = [item if isinstance(item, str) else requests.read(item) for item in json.loads(line)]
        images = [load(item, look) for item in items]
        heads = [image if isinstance(image, str) else list(image.shape) for image in images]
        answer.write(json.dumps(heads).encode() + b"\n")
        for image in images:
            if not isinstance(image, str):
                answer.write(np.ascontiguousarray(image).data)
        answer.flush()


def load(item: str | bytes, look: ImageSpec) -> NDArray[np.uint8] | str:
    """The image in a local file or in bytes, or the reason why there is none."""
    try:
        if isinstance(item, bytes):
            return look.decode(item)
        with open_regular(Path(item), DataError, "a readable image") as file:
            return look.decode(file.read())
    except UnreadableError as error:
        return str(error)
    except DataError as error:
        if not isinstance(item, str):
            raise
        # The name is told by whoever asked for it.
        return error.found.removeprefix(str(Path(item))).removeprefix(": ").strip()
    except MemoryError:
        return "memory ran out"
    except OSError as error:
        return error.strerror or type(error).__name__


def _own_stdout() -> IO[Any]:
    """The pipe to whoever asks, for this module alone: what native code prints goes to standard error."""
    answer = os.fdopen(os.dup(1), "wb", 2**20)
    os.dup2(2, 1)
    return answer


if __name__ == "__main__":
    main()
