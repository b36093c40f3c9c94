"""Limits that hold where the user sets none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from onnxrich._utils import limits

MIB = 2**20


def group(folder: Path, names: tuple[str, str], *, most: str, used: int, cache: str) -> None:
    """The files of a control group."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in zip((*names, "memory.stat"), (most, str(used), cache), strict=True):
        (folder / name).write_text(f"{content}\n")


def test_unified_groups(tmp_path: Path) -> None:
    """The group of a process and those around it leave what their limits exceed their use by, the cache apart."""
    names, root = ("memory.max", "memory.current"), tmp_path / "cgroup"
    (tmp_path / "self").write_text("0::/service/job\n")
    group(root / "service", names, most=str(900 * MIB), used=700 * MIB, cache=f"anon 5\ninactive_file {100 * MIB}")
    group(root / "service" / "job", names, most="max", used=600 * MIB, cache="inactive_file 0")
    assert list(limits.left_in_containers(tmp_path / "self", root)) == [300 * MIB]
    group(root / "service" / "job", names, most=str(650 * MIB), used=600 * MIB, cache="active_file 7\ninactive_file 1")
    assert list(limits.left_in_containers(tmp_path / "self", root)) == [50 * MIB + 8, 300 * MIB]


def test_older_groups(tmp_path: Path) -> None:
    """In a container the group lies at the root of the mount, and only the controller of memory counts."""
    names = ("memory.limit_in_bytes", "memory.usage_in_bytes")
    (tmp_path / "self").write_text("9:name=systemd:/docker/abc\n4:hugetlb,memory:/docker/abc\n1:cpu:/\n0::/\n")
    group(tmp_path / "memory", names, most=str(64 * MIB), used=60 * MIB, cache=f"total_inactive_file {MIB}")
    assert list(limits.left_in_containers(tmp_path / "self", tmp_path)) == [5 * MIB]


def test_no_groups(tmp_path: Path) -> None:
    """Where nothing is listed, or nothing can be read, the machine alone decides."""
    assert list(limits.left_in_containers(tmp_path / "nothing", tmp_path)) == []
    (tmp_path / "self").write_text("0::/gone\n")
    assert list(limits.left_in_containers(tmp_path / "self", tmp_path)) == []
    assert 0 < limits.available_bytes() <= psutil.virtual_memory().total


def test_limit_of_the_address_space() -> None:
    """`ulimit -v` leaves what it exceeds the mapped memory by."""
    program = (
        "import resource, psutil; from onnxrich._utils import limits\n"
        "size = psutil.Process().memory_info().vms + (300 << 20)\n"
        "resource.setrlimit(resource.RLIMIT_AS, (size, size)); print(limits.available_bytes() >> 20)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert 250 <= int(done.stdout) <= 300


@pytest.mark.parametrize(("available", "most"), [(0, 256 * MIB), (1000 * MIB, 900 * MIB)])
def test_default_memory_limit(monkeypatch: pytest.MonkeyPatch, available: int, most: int) -> None:
    """Nine tenths of the available memory; a small run is allowed even where hardly any is left."""
    monkeypatch.setattr(limits, "available_bytes", lambda: available)
    assert limits.default_memory_limit() == most


def test_default_stall_limit() -> None:
    """Two minutes, and ten for each GiB."""
    assert limits.default_stall_limit(0) == 120
    assert limits.default_stall_limit(2**31) == 120 + 1200
