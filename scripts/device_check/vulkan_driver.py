"""Find the Vulkan loader, the drivers and wgpu-native of a machine, also where nothing has registered a driver.

The loader (``libvulkan.so.1``) opens the drivers that JSON files in folders such as ``/usr/share/vulkan/icd.d`` name.
Containers often have NVIDIA's library without its file. Then the file is written here.
"""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from scripts.device_check.opencl_driver import Found, opens

LOADER = "libvulkan.so.1"
FOLDERS = tuple(f"{base}/vulkan/icd.d" for base in ("/usr/share", "/etc", "/usr/local/share", "/usr/local/etc"))
# Variables that choose the drivers, the newer first; the older is known to all loaders.
CHOICES = ("VK_DRIVER_FILES", "VK_ICD_FILENAMES")
DRIVER = "libGLX_nvidia.so.0"


def registered(folders: Sequence[str] = FOLDERS) -> dict[Path, str]:
    """Return the library that each file of a driver names."""
    found = {}
    for file in sorted(f for folder in folders for f in Path(folder).glob("*.json")):
        try:
            found[file] = str(json.loads(file.read_text(encoding="utf-8"))["ICD"]["library_path"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return found


def find(
    write_to: Path,
    environment: Mapping[str, str] = os.environ,
    folders: Sequence[str] = FOLDERS,
    driver: str = DRIVER,
) -> Found:
    """Return what has to be set so that Vulkan finds the machine's drivers.

    Parameters
    ----------
    write_to : Path
        Folder for the file of a driver, created only if one has to be written.
    environment : mapping
        Variables that the user has set are respected.
    folders : sequence of str
        Where drivers are registered.
    driver : str
        A driver's library that may be there without a file.

    Returns
    -------
    Found
    """
    has_loader, library = opens(LOADER), environment.get("TVM_COEXEC_LIBWGPU")
    notes = [f"loader: {LOADER}" if has_loader else f"loader: none; install {LOADER} (Debian: libvulkan1)"]
    if library:
        notes.append(f"wgpu-native: {library}, from TVM_COEXEC_LIBWGPU")
    elif importlib.util.find_spec("wgpu") is None:
        notes.append("wgpu-native: not with this Python; pip install wgpu==0.32.*")
    else:
        notes.append("wgpu-native: of the Python package wgpu")
    for name in CHOICES:
        if environment.get(name):
            return Found({}, (*notes, f"drivers: {environment[name]} ({name})"))
    known = registered(folders)
    notes += [f"driver: {path}, registered in {file}" for file, path in known.items()]
    variables = {}
    if driver not in map(os.path.basename, known.values()) and opens(driver):
        write_to.mkdir(parents=True, exist_ok=True)
        file = write_to / "driver.json"
        content = {"file_format_version": "1.0.0", "ICD": {"library_path": driver, "api_version": "1.3.0"}}
        file.write_text(json.dumps(content) + "\n", encoding="utf-8")
        variables = dict.fromkeys(CHOICES, ":".join(map(str, [file, *known])))
        notes.append(f"driver: {driver}, which no file names")
    elif not known:
        notes.append("drivers: none is registered")
    return Found(variables, tuple(notes))
