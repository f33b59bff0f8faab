"""Where CUDA lies and how Caffe is built with it: NVIDIA's PyPI packages in .venv, or the emulation on the CPU.

    python3 caffe-build/cuda.py    # prints what LD_LIBRARY_PATH must hold for a program outside .venv to find CUDA

The packages are pyproject.toml's extra `gpu`. They hold CUDA as one folder, nvidia/cu13, with cuDNN and NCCL beside it.
"""

import glob
import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
EMULATION = os.path.join(HERE, "emulation")
SITE = "python3.11/site-packages"  # in .venv/lib, on Debian bookworm
LIBRARY_FOLDERS = ["nvidia/cu13/lib", "nvidia/cudnn/lib", "nvidia/nccl/lib"]
LINKED = ["cudart", "cublas", "curand", "nvrtc", "cudnn", "nccl"]
ARCHITECTURES = ["75", "80", "86", "89", "90", "100", "120"]  # Turing, the oldest of CUDA 13, to Blackwell


def run_paths(folders):
    """CMake's flags that make programs in bin/ and test/, lib/libcaffe.so and pycaffe in lib/pythonX.Y/site-packages/caffe
    find each other, and the libraries in ``folders`` of site-packages, wherever the whole is moved. As RPATH, which the
    libraries that these load use too: NVRTC looks for its built-ins by name."""
    program = ["$ORIGIN/../lib", *(f"$ORIGIN/../lib/{SITE}/{folder}" for folder in folders)]
    shared = ["$ORIGIN/../../..", *(f"$ORIGIN/{SITE}/{folder}" for folder in folders),
              *(f"$ORIGIN/../{folder}" for folder in folders)]
    return [f"-DCMAKE_{kind}_LINKER_FLAGS=-Wl,--disable-new-dtags " + " ".join(f"-Wl,-rpath,'{path}'" for path in paths)
            for kind, paths in (("EXE", program), ("SHARED", shared))]


def architectures(wanted):
    """CMake's flag for the compute capabilities in ``wanted`` ("90", "75 80"), or for all; the last one also as PTX, which
    newer GPUs compile for themselves."""
    names = re.split(r"[ ,;]+", wanted.strip().replace(".", "")) if wanted.strip() else ARCHITECTURES
    for name in names:
        if not re.fullmatch(r"\d{2,3}a?", name) or int(name.rstrip("a")) < 75:
            sys.exit(f"error: CUDA_ARCHS={wanted} must name compute capabilities from 7.5 on, like 90 or \"75 80\"")
    return "-DCMAKE_CUDA_ARCHITECTURES=" + ";".join([f"{name}-real" for name in names[:-1]] + [names[-1]])


def compiler(venv):
    """CMake's flags for the nvcc in ``venv``."""
    return [f"-DCMAKE_CUDA_COMPILER={venv}/lib/{SITE}/nvidia/cu13/bin/nvcc"]


def complete_toolkit(venv):
    """Gives the packages' CUDA folder what linking needs and they lack: unversioned names of the libraries, lib64, and the
    headers of cuDNN and NCCL."""
    nvidia = os.path.join(venv, "lib", SITE, "nvidia")
    toolkit = os.path.join(nvidia, "cu13")
    for name in LINKED:
        library = glob.glob(os.path.join(nvidia, "*", "lib", f"lib{name}.so.*"))
        if len(library) != 1:
            sys.exit(f"error: lib{name} is missing below {nvidia}: remove .venv and build again")
        link(os.path.relpath(library[0], os.path.join(toolkit, "lib")), os.path.join(toolkit, "lib", f"lib{name}.so"))
    link("lib", os.path.join(toolkit, "lib64"))
    for package in ("cudnn", "nccl"):
        for header in glob.glob(os.path.join(nvidia, package, "include", "*.h")):
            link(os.path.relpath(header, os.path.join(toolkit, "include")),
                 os.path.join(toolkit, "include", os.path.basename(header)))


def link(target, path):
    if os.path.lexists(path):
        os.remove(path)
    os.symlink(target, path)


def emulation_files():
    return sorted(path for path in glob.glob(os.path.join(EMULATION, "**", "*"), recursive=True)
                  if path.endswith((".h", ".hpp", ".cpp", ".py")))


if __name__ == "__main__":
    lib = os.path.join(os.path.dirname(HERE), ".venv", "lib")
    print(":".join([lib, *(os.path.join(lib, SITE, folder) for folder in LIBRARY_FOLDERS)]))
