"""Builds BVLC Caffe with the method's layers and installs it into .venv.

    python3 caffe-build/build.py            # what `make caffe` runs
    python3 caffe-build/build.py --tests    # builds the C++ tests as well and prints their program's path
    python3 caffe-build/build.py --device emulated  # the kernels for the CPU, see emulation/README.md; prints its folder

Everything that goes into a build is hashed; a finished build is kept under that hash in the cache (STAL_CACHE, or
stal-caffe in the user's cache folder), so the second call only copies. A changed layer is compiled incrementally.
Environment: DEVICE=cpu|gpu|emulated (unless --device says), CUDA_ARCHS="90" or "75 80" (default: all from 7.5 to 12.0),
CAFFE_TARBALL=FILE (fetch.py), JOBS=number of compilers at once; CFLAGS, CXXFLAGS, CUDAFLAGS, LDFLAGS as CMake takes them.
"""

import argparse
import contextlib
import fcntl
import glob
import hashlib
import os
import shutil
import subprocess
import sys

import configure
import cuda
import fetch
import overlay

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
VENV = os.path.join(ROOT, ".venv")
PYTHON = "/usr/bin/python3"  # Debian's: the Boost.Python package is compiled for it
CACHE = os.environ.get("STAL_CACHE") or os.path.join(
    os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "stal-caffe")
COMMON = ["-DBLAS=Open", "-DUSE_OPENMP=ON", "-DUSE_LEVELDB=OFF", "-DUSE_LMDB=ON", "-DBUILD_docs=OFF", "-Dpython_version=3",
          "-DCMAKE_BUILD_TYPE=Release", "-DCMAKE_SKIP_RPATH=ON"]
MINUTES = {"cpu": "4", "gpu": "20 to 40", "emulated": "10"}
FLAGS = {
    "cpu": ["-DCPU_ONLY=ON", *COMMON, *cuda.run_paths([])],
    "gpu": ["-DUSE_NCCL=ON", *COMMON, *cuda.run_paths(cuda.LIBRARY_FOLDERS)],
    "emulated": [f"-DCUDA_EMULATION={cuda.EMULATION}", *COMMON, *cuda.run_paths([])],
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tests", action="store_true", help="build the C++ tests too; prints the path of their program")
    parser.add_argument("--device", help="cpu, gpu or emulated", default=os.environ.get("DEVICE", "cpu"))
    options = parser.parse_args()
    device = options.device
    if device not in FLAGS:
        sys.exit(f"error: DEVICE={device} is not one of: {', '.join(FLAGS)}")
    if device == "gpu":
        FLAGS["gpu"].append(cuda.architectures(os.environ.get("CUDA_ARCHS", "")))
    debian_packages()
    virtual_environment(device)
    base, full = content_hashes(device)
    result = os.path.join(CACHE, f"install-{full}")
    wanted = os.path.join(result, "test", "test.testbin") if options.tests else result
    if not os.path.exists(wanted):
        os.makedirs(CACHE, exist_ok=True)
        with locked(os.path.join(CACHE, f"{base}.lock")):
            compile_caffe(device, os.path.join(CACHE, f"build-{base}"), result, options.tests)
    if device != "emulated":
        install(result, full)
    if options.tests or device == "emulated":
        print(wanted)


def debian_packages():
    """Installs the Debian packages that are missing, or says which line does it."""
    wanted = open(os.path.join(HERE, "debian-packages.txt")).read().split()
    status = subprocess.run(["dpkg-query", "-W", "-f=${db:Status-Abbrev} ${Package}\n", *wanted],
                            capture_output=True, text=True).stdout
    present = {line.split()[1] for line in status.splitlines() if line.startswith("ii")}
    missing = [package for package in wanted if package not in present]
    if not missing:
        return
    install_line = ["apt-get", "install", "-y", "--no-install-recommends", *missing]
    if os.geteuid() != 0:
        sys.exit("error: Debian packages are missing. Run: sudo apt-get update && sudo " + " ".join(install_line))
    say(f"installing {len(missing)} Debian packages")
    environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    for command in (["apt-get", "update", "-qq"], [*install_line, "-qq", "-o", "Dpkg::Use-Pty=0"]):
        subprocess.run(command, check=True, env=environment, stdout=sys.stderr)


def virtual_environment(device):
    """Makes .venv and brings its packages to what pyproject.toml pins; for the device gpu CUDA too, which then stays."""
    pins = hashlib.sha256(open(os.path.join(ROOT, "pyproject.toml"), "rb").read()).hexdigest()
    stamp = os.path.join(VENV, "pins")
    present = open(stamp).read().split() if os.path.exists(stamp) else []
    if present[:1] == [pins] and (device != "gpu" or "gpu" in present):
        return
    gpu = device == "gpu" or "gpu" in present
    say("installing the Python packages" + " and CUDA (2 GB)" * gpu + " into .venv")
    subprocess.run([PYTHON, "-m", "venv", VENV], check=True)
    subprocess.run([os.path.join(VENV, "bin", "pip"), "install", "--quiet", "--disable-pip-version-check",
                    "--editable", ROOT + "[gpu]" * gpu], check=True, stdout=sys.stderr)
    if gpu:
        cuda.complete_toolkit(VENV)
    with open(stamp, "w") as stream:
        stream.write(pins + " gpu" * gpu)


def content_hashes(device):
    """(hash of the patched upstream and the tools, hash of these and the overlay), short and in hex."""
    digest = hashlib.sha256()
    tools = subprocess.run(["dpkg-query", "-W", "g++", *open(os.path.join(HERE, "debian-packages.txt")).read().split()],
                           capture_output=True, text=True, check=True).stdout
    flags = [flag.replace(ROOT, "") for flag in FLAGS[device]]  # the same for each checkout
    of_the_caller = [os.environ[name] for name in ("CFLAGS", "CXXFLAGS", "CUDAFLAGS", "LDFLAGS") if os.environ.get(name)]
    for text in (device, *flags, tools, read(os.path.join(ROOT, "pyproject.toml")), *of_the_caller):
        digest.update(text.encode() + b"\0")
    patches = sorted(glob.glob(os.path.join(HERE, "patches", "*.patch")))
    emulation = cuda.emulation_files() if device == "emulated" else []
    for path in [os.path.join(HERE, "source.sha256"), *patches, *emulation]:
        digest.update(read(path).encode() + b"\0")
    base = digest.hexdigest()[:16]
    for target, source in sorted(overlay.sources().items()):
        digest.update(f"{target}\0{read(source)}\0".encode())
    digest.update(read(os.path.join(ROOT, "layers", "layers.proto")).encode())
    return base, digest.hexdigest()[:16]


def compile_caffe(device, work, result, tests):
    """Compiles in ``work``/build from ``work``/source and copies what is to be installed into ``result``."""
    source, build = os.path.join(work, "source"), os.path.join(work, "build")
    if not os.path.exists(source):
        say("fetching BVLC Caffe 99bd997")
        shutil.rmtree(source + ".part", ignore_errors=True)
        fetch.fetch(source + ".part")
        for patch in sorted(glob.glob(os.path.join(HERE, "patches", "*.patch"))):
            subprocess.run(["patch", "-p1", "--fuzz=0", "--silent", "-i", patch], cwd=source + ".part", check=True)
        shutil.copy(os.path.join(source + ".part", overlay.PROTO), os.path.join(source + ".part", "caffe.proto.upstream"))
        os.rename(source + ".part", source)
    overlay.apply(source, read(os.path.join(source, "caffe.proto.upstream")))
    say(f"configuring and compiling Caffe for {device} (about {MINUTES[device]} minutes on two cores)")
    python = os.path.join(VENV, "bin", "python3")
    include = subprocess.run([python, "-c", "import sysconfig; print(sysconfig.get_path('include'))"],
                             capture_output=True, text=True, check=True).stdout.strip()
    log = os.path.join(work, "build.log")
    targets = ["caffe", "caffe.bin", "pycaffe"] + (["test.testbin"] if tests else [])
    configuration = ["cmake", "-G", "Ninja", "-S", source, *FLAGS[device], *(cuda.compiler(VENV) if device == "gpu" else []),
                     f"-DPYTHON_EXECUTABLE={python}", f"-DPYTHON_INCLUDE_DIR={include}",
                     f"-DPYTHON_LIBRARY={glob.glob('/usr/lib/*/libpython3.[0-9]*.so')[0]}"]
    compilation = ["ninja", "-C", build, *jobs(), *targets]
    with open(log, "w") as stream:
        if not configure.configure(configuration, build, stream) or \
                subprocess.run(compilation, stdout=stream, stderr=subprocess.STDOUT).returncode:
            sys.stderr.write("".join(open(log).readlines()[-40:]))
            sys.exit(f"error: building Caffe failed; the whole log is {log}")
    shutil.rmtree(result + ".part", ignore_errors=True)
    python_package = os.path.join(result + ".part", "python", "caffe")
    shutil.copytree(os.path.join(source, "python", "caffe"), python_package,
                    ignore=shutil.ignore_patterns("test", "imagenet", "__pycache__", "*.cpp", "_caffe.so"))
    for pattern, target in (("lib/_caffe.so", "python/caffe"), ("lib/libcaffe.so*", "lib"), ("tools/caffe", "bin"),
                            *([("test/test.testbin", "test")] if tests else [])):
        os.makedirs(os.path.join(result + ".part", target), exist_ok=True)
        for path in glob.glob(os.path.join(build, pattern)):
            shutil.copy(path, os.path.join(result + ".part", target), follow_symlinks=False)
    if tests:  # the tests read their data by paths relative to the source tree
        os.symlink(source, os.path.join(result + ".part", "test", "source"))
    shutil.rmtree(result, ignore_errors=True)
    os.rename(result + ".part", result)


def install(result, full):
    """Copies a finished build into .venv, unless it is there."""
    stamp = os.path.join(VENV, "caffe-build")
    if os.path.exists(stamp) and read(stamp) == full:
        return
    packages = glob.glob(os.path.join(VENV, "lib", "python3*", "site-packages"))[0]
    shutil.rmtree(os.path.join(packages, "caffe"), ignore_errors=True)
    shutil.copytree(os.path.join(result, "python", "caffe"), os.path.join(packages, "caffe"))
    for folder in ("lib", "bin"):
        for path in glob.glob(os.path.join(result, folder, "*")):
            target = os.path.join(VENV, folder, os.path.basename(path))
            shutil.copy(path, target + ".part", follow_symlinks=False)
            os.replace(target + ".part", target)
    with open(stamp, "w") as stream:
        stream.write(full)
    say(f"Caffe is in .venv (build {full})")


@contextlib.contextmanager
def locked(path):
    """Holds a lock file: two builds of the same tree would spoil each other."""
    with open(path, "w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def jobs():
    return ["-j", os.environ["JOBS"]] if os.environ.get("JOBS") else []


def read(path):
    with open(path, encoding="utf-8") as stream:
        return stream.read()


def say(text):
    print(f"caffe-build: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
