"""Packs the build in .venv into one archive that runs on another x86-64 Linux machine, without Docker or root.

    make bundle DEVICE=gpu            # build/stal-gpu-x86_64.tar.xz
    tar xf stal-gpu-x86_64.tar.xz && stal/run caffe device_query -gpu 0 && stal/run python tools/demo.py

The archive holds the project, Caffe, Debian's Python 3.11 with the packages the demo needs, and the libraries of all
these but the C library's (glibc 2.36 or newer is the machine's). CUDA's large libraries (cuBLAS, cuRAND, NVRTC, cuDNN, NCCL)
are the machine's too: launch.py, in the archive, finds them. GDAL and FFmpeg, which OpenCV links, and libcurl,
which HDF5 links, are called by nothing here and replaced by libraries of stubs: with what they need they would be most of
the archive.
"""

import argparse
import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile

import cuda

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)

PROJECT = ["FIDELITY.md", "LICENSE", "README.md", "RESULTS.md", "benchmarks", "data_prep", "layers", "prototxt", "snapshots",
           "stal", "tests", "tools"]
PACKAGES = ["caffe", "cv2", "google", "numpy", "numpy.libs", "opencv_python_headless.libs", "scipy",
            "scipy.libs", "six.py", "tqdm"]
# Of SciPy only what .mat files, sparse matrices, the normal distribution and pycaffe need.
NOT_OF_SCIPY = ["cluster", "constants", "datasets", "differentiate", "fft", "fftpack", "integrate", "interpolate", "misc",
                "odr", "optimize", "signal", "spatial", "stats"]
# Tests go by file: SciPy imports numpy.testing, which imports a file of numpy/_core/tests.
NOT_OF_PACKAGES = ["__pycache__", "test_*", "data", "examples", "*.pyi", "*.h", "*.a", "*.lib", "haarcascade*"]
NOT_OF_PYTHON = ["__pycache__", "test", "tests", "idlelib", "ensurepip", "lib2to3", "tkinter", "turtledemo", "pydoc_data",
                 "config-*", "dist-packages", "_dbm*", "_gdbm*", "_curses*", "readline*", "nis*", "ossaudiodev*"]
STUBBED = re.compile(r"lib(gdal|avcodec|avformat|avutil|swresample|swscale|curl)\b")
HARMLESS = {"GDALAllRegister"}  # OpenCV calls it before its first image: this stub does nothing
OF_THE_SYSTEM = re.compile(r"(linux-vdso|ld-linux|lib(c|m|dl|rt|pthread|resolv|util|nsl)\.so|libcuda\.so)")
OF_CUDA = re.compile(r"lib(cublas|cublasLt|curand|nvrtc|cudnn|nccl)\b")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", default=os.path.join(ROOT, "build"), help="folder for the archive")
    parser.add_argument("--tests", metavar="PROGRAM", help="take along this build's C++ tests, to run with `stal/run tests`")
    options = parser.parse_args()
    site = os.path.join(ROOT, ".venv", "lib", cuda.SITE)
    if not os.path.exists(os.path.join(site, "caffe", "_caffe.so")):
        sys.exit(f"error: there is no Caffe in {site}: run make caffe first")
    os.makedirs(options.output, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.output) as work:
        folder = os.path.join(work, "stal")
        copy_project(folder)
        copy_caffe_and_packages(folder, site)
        copy_python(folder)
        if options.tests:
            copy_tests(folder, options.tests)
        copy_libraries(folder)
        for name in ("launch.py", "run"):
            shutil.copy(os.path.join(HERE, "bundle", name), os.path.join(folder, name))
        used = needed_names(os.path.join(folder, ".venv", "lib", "libcaffe.so"))
        device = "gpu" if any(OF_CUDA.match(soname) for soname in used) else "cpu"
        archive = os.path.join(options.output, f"stal-{device}-x86_64.tar.xz")
        # Sorted and without times and owners: the same build gives the same archive.
        subprocess.run(["tar", "--sort=name", "--mtime=@0", "--owner=0", "--group=0", "--numeric-owner", "-C", work,
                        "-I", "xz --x86 --lzma2=preset=9e,dict=128MiB", "-cf", archive + ".part", "stal"], check=True)
        os.replace(archive + ".part", archive)
    print(f"{archive}: {os.path.getsize(archive) / 2**20:.0f} MB")


def copy_project(folder):
    for name in PROJECT:
        copy(os.path.join(ROOT, name), os.path.join(folder, name),
             ["__pycache__", "*.caffemodel*", "*.solverstate*", "*.cpp", "*.cu"])


def copy_caffe_and_packages(folder, site):
    """In the places they have in .venv, by which they find each other."""
    venv = os.path.join(ROOT, ".venv")
    for path in [os.path.join(venv, "bin", "caffe"), *glob.glob(os.path.join(venv, "lib", "libcaffe.so*"))]:
        copy(path, os.path.join(folder, os.path.relpath(path, ROOT)))
    for name in PACKAGES:
        copy(os.path.join(site, name), os.path.join(folder, ".venv", "lib", cuda.SITE, name),
             NOT_OF_PACKAGES + NOT_OF_SCIPY * (name == "scipy"))
    for library in glob.glob(os.path.join(site, "nvidia", "cu13", "lib", "libcudart.so.*")):
        copy(library, os.path.join(folder, "runtime", "lib", os.path.basename(library)))


def copy_python(folder):
    """Debian's interpreter and its standard library, to be run with PYTHONHOME=runtime/python."""
    copy(os.path.realpath("/usr/bin/python3"), os.path.join(folder, "runtime", "python", "bin", "python3"))
    library = sorted(glob.glob("/usr/lib/python3.[0-9]*"))[0]
    copy(library, os.path.join(folder, "runtime", "python", "lib", os.path.basename(library)), NOT_OF_PYTHON)


def copy_tests(folder, program):
    """The gtest program and the data that it reads by paths relative to Caffe's source tree."""
    copy(program, os.path.join(folder, ".venv", "test", "test.testbin"))
    source = os.path.join(os.path.dirname(program), "source")
    for name in ("src/caffe/test/test_data", "examples/images"):
        copy(os.path.join(source, name), os.path.join(folder, ".venv", "test", name))


def copy_libraries(folder):
    """Every library that a program or library in ``folder`` needs and the target cannot be expected to have."""
    target = os.path.join(folder, "runtime", "lib")
    os.makedirs(target, exist_ok=True)
    waiting = [path for path in walk(folder) if is_elf(path)]
    users = {}  # soname of a stubbed library -> (its path, those that need it)
    while waiting:
        user = waiting.pop()
        for soname, path in needed(user).items():
            if OF_THE_SYSTEM.match(soname) or OF_CUDA.match(soname):
                continue
            if STUBBED.match(soname):
                if not STUBBED.match(os.path.basename(user)):
                    users.setdefault(soname, (path, []))[1].append(user)
            elif not path.startswith(folder) and not os.path.exists(os.path.join(target, soname)):
                copy(os.path.realpath(path), os.path.join(target, soname))
                waiting.append(os.path.join(target, soname))
    for soname, (path, of) in sorted(users.items()):
        write_stub(path if path.startswith(folder) else os.path.join(target, soname), soname, path, of)
    remove_unneeded(folder, os.path.join(folder, ".venv", "lib", cuda.SITE, "opencv_python_headless.libs"))
    # Only what was built here: strip spoils the libraries of PyPI packages, which patchelf has moved about.
    own = [path for name in ("bin", "lib", "test") for path in glob.glob(os.path.join(folder, ".venv", name, "*"))]
    for path in [*own, os.path.join(folder, ".venv", "lib", cuda.SITE, "caffe", "_caffe.so")]:
        if os.path.isfile(path) and is_elf(path):
            subprocess.run(["strip", "--strip-unneeded", path], check=True)


def remove_unneeded(folder, libraries):
    """Of the ``libraries`` that came with a package, those that only the stubbed ones needed; over and over, since these
    need others."""
    left = None
    while left != (left := [path for path in walk(folder) if is_elf(path)]):
        wanted = {soname for path in left for soname in needed_names(path)}
        for path in walk(libraries):
            if os.path.basename(path) not in wanted:
                os.remove(path)


def write_stub(target, soname, path, users):
    """A library named ``soname`` that has, of the library at ``path``, the functions that ``users`` call: each ends the
    program with a sentence, but for those in HARMLESS."""
    defined = {}
    for line in output("nm", "-D", "--defined-only", path).splitlines():
        fields = line.split()
        name, _, version = fields[-1].replace("@@", "@").partition("@")
        defined[name] = (fields[-2], version)
    called = sorted({line.split()[-1].partition("@")[0] for user in users
                     for line in output("nm", "-D", "--undefined-only", user).splitlines()} & set(defined))
    versions = sorted({defined[name][1] for name in called} - {""})
    sentence = f"error: {soname} is not in this bundle: use an installation instead\\n"
    source = ["#include <stdio.h>", "#include <stdlib.h>",
              f'static void stop(void) {{ fputs("{sentence}", stderr); abort(); }}']
    for name in called:
        if defined[name][0] not in "TWi":
            sys.exit(f"error: {soname} cannot be stubbed, since {name} is data: take it out of STUBBED in {__file__}")
        source.append(f"void {name}(void) {{ {'' if name in HARMLESS else 'stop();'} }}")
    with tempfile.TemporaryDirectory() as work:
        with open(os.path.join(work, "stub.c"), "w") as stream:
            stream.write("\n".join(source) + "\n")
        with open(os.path.join(work, "stub.map"), "w") as stream:
            for version in versions:
                names = "".join(f" {name};" for name in called if defined[name][1] == version)
                stream.write(f"{version} {{ global:{names} }};\n")
        flags = [f"-Wl,-soname,{soname}"] + [f"-Wl,--version-script,{work}/stub.map"] * bool(versions)
        subprocess.run(["gcc", "-shared", "-fPIC", "-fno-builtin", "-w", "-o", target, f"{work}/stub.c", *flags], check=True)


def needed(path):
    """{soname: path on this machine} of the libraries that the ELF file at ``path`` names itself."""
    where = dict(re.findall(r"^\s*(\S+) => (/\S+)", output("ldd", path), re.M))
    return {soname: where[soname] for soname in needed_names(path) if soname in where}


def needed_names(path):
    return re.findall(r"^  NEEDED +(\S+)", output("objdump", "-p", path), re.M)


def is_elf(path):
    if os.path.islink(path):
        return False
    with open(path, "rb") as stream:
        return stream.read(4) == b"\x7fELF"


def walk(folder):
    return sorted(os.path.join(place, name) for place, _, names in os.walk(folder) for name in names)


def copy(source, target, leave_out=()):
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if os.path.isdir(source):
        shutil.copytree(source, target, symlinks=True, ignore=shutil.ignore_patterns(*leave_out))
    else:
        shutil.copy(source, target, follow_symlinks=False)


def output(*command):
    return subprocess.run(command, capture_output=True, text=True).stdout


if __name__ == "__main__":
    main()
