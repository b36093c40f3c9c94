"""What reading costs: images decoded by one thread and by all cores, against inference; and the fingerprint.

    python benchmarks/reading.py            prints two Markdown tables
    python benchmarks/reading.py --quick    fewer images

JPEG files of 500 × 375 pixels, made up here, are resized to 256, cropped to 224, scaled and normalised.
*Processor seconds* are those that the work takes of one core: other load on the machine doesn't add to them. The run is
`onnxrich.run` of a ResNet-18 over the folder; *waiting* is the share of the loop in which the model waits for images.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from unittest.mock import patch

import numpy as np
from measure import by_turns, machine, timed
from models import resnet18
from PIL import Image

import onnxrich
from onnxrich._utils.threads import usable_cores
from onnxrich.data.fingerprint import Fingerprint
from onnxrich.data.images import pool
from onnxrich.data.open import open_source
from onnxrich.model.file import read_model

STEPS = {"resize": 256, "crop": 224, "scale": 1 / 255, "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


def make_images(folder: Path, count: int) -> None:
    """JPEG files with large shapes and noise, about 65 kB each, as photos have."""
    rng = np.random.default_rng(0)
    for at in range(count):
        shapes = Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)).resize((500, 375), 3)
        noise = rng.integers(-12, 12, (375, 500, 3))
        pixels = (np.asarray(shapes) + noise).clip(0, 255).astype(np.uint8)
        path = folder / f"{at % 10}" / f"{at:05}.jpg"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(path, quality=90)


def processor_seconds(work: Callable[[], object]) -> float:
    """Seconds that some work takes of one core."""
    start = time.process_time()
    work()
    return time.process_time() - start


def reading_table(folder: Path, count: int, turns: int) -> None:
    """Images a second, and processor seconds an image, of reading and of running."""
    proto = resnet18(224)
    source = open_source(read_model(proto), folder, preprocessing=STEPS)

    def read(threads: int) -> Callable[[], object]:
        def loop() -> None:
            with patch.object(pool, "usable_cores", lambda: threads):
                for _ in source.batches(32):
                    pass

        return loop

    loops = {threads: read(threads) for threads in (1, usable_cores())}
    fastest = by_turns({str(threads): partial(timed, loop) for threads, loop in loops.items()}, turns)
    print("| what | images a second | processor seconds an image |\n| --- | --- | --- |")
    for threads, loop in loops.items():
        per_second = count / fastest[str(threads)]
        print(f"| decoded by {threads} threads | {per_second:.0f} | {processor_seconds(loop) / count:.4f} |")
    for threads in loops:
        print(_run_row(folder, min(count, 256), threads))
    print()


def _run_row(folder: Path, few: int, threads: int) -> str:
    """A whole run, its images decoded by some threads, with the share of its loop that it waits for them."""
    found: list[onnxrich.Analysis] = []
    options = {"reading": {"limit": few}, "preprocessing": STEPS, "device": "cpu"}
    with patch.object(pool, "usable_cores", lambda: threads):
        used = processor_seconds(lambda: found.append(onnxrich.run(resnet18(224), folder, **options)))
    runtime = found[0].record.runtime
    stages = runtime.profile or {}
    waiting = stages["reading"] / (stages["reading"] + stages["running"])
    what = f"run of a ResNet-18, decoded by {threads} threads, waiting {waiting:.1%}"
    return f"| {what} | {few / runtime.seconds:.1f} | {used / few:.4f} |"


def fingerprint_table(turns: int) -> None:
    """Microseconds a row of the fingerprint, and of the rest of reading."""
    print("| row | bytes | fingerprint, µs a row | reading from .npy, µs a row |\n| --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        for width, rows in ((6, 50_000), (784, 20_000), (150_528, 200)):
            x = np.random.default_rng(0).standard_normal((rows, width), dtype=np.float32)
            path = Path(folder) / f"{width}.npy"
            np.save(path, x)
            again = np.load(path, mmap_mode="r")

            def hashed(x: np.ndarray = x, rows: int = rows) -> None:
                Fingerprint().add({"x": x}, None, rows)

            def copied(again: np.ndarray = again, rows: int = rows) -> None:
                for start in range(0, rows, 512):
                    again[start : start + 512].copy()

            best = [min(processor_seconds(work) for _ in range(turns)) / rows * 1e6 for work in (hashed, copied)]
            print(f"| {width:,} floats | {4 * width:,} | {best[0]:.2f} | {best[1]:.2f} |")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer images and turns")
    quick = parser.parse_args().quick
    count, turns = (64, 1) if quick else (1024, 5)
    print(machine() + "\n")
    with tempfile.TemporaryDirectory() as folder:
        make_images(Path(folder), count)
        reading_table(Path(folder), count, turns)
    fingerprint_table(turns)


if __name__ == "__main__":
    main()
