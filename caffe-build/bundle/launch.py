"""Starts a program of the bundle with CUDA's libraries of this machine.

    run caffe train -solver prototxt/solver_demo.prototxt -gpu 0
    run python tools/demo.py
    run tests --gtest_filter='AttentionPooling*'

The libraries are looked for in $STAL_CUDA (folders, joined by :), $LD_LIBRARY_PATH, the nvidia packages of the python3 on
$PATH (PyTorch brings them), /usr/local/cuda*, and where the system's linker looks. A build without a GPU needs none.
"""

import glob
import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
# Each with the PyPI package that has it.
LIBRARIES = {"libcublas.so.13": "nvidia-cublas", "libcublasLt.so.13": "nvidia-cublas", "libcurand.so.10": "nvidia-curand",
             "libnvrtc.so.13": "nvidia-cuda-nvrtc", "libcudnn.so.9": "nvidia-cudnn-cu13", "libnccl.so.2": "nvidia-nccl-cu13"}


def main(arguments):
    programs = {"caffe": [os.path.join(HERE, ".venv/bin/caffe")],
                "python": [os.path.join(HERE, "runtime/python/bin/python3")],
                "tests": [os.path.join(HERE, ".venv/test/test.testbin")]}
    if not arguments or arguments[0] not in programs:
        sys.exit("error: say what to run: run caffe ..., run python ..., or run tests ...")
    program = programs[arguments[0]]
    if not os.path.exists(program[0]):
        sys.exit(f"error: this bundle has no {arguments[0]}: pack it with --tests")
    environment = dict(os.environ)
    outer = environment.get("STAL_OUTER_PATH", "")
    folders = [os.path.join(HERE, "runtime", "lib"), os.path.join(HERE, ".venv", "lib")]
    if needs_cuda():
        folders += cuda_folders(outer)
    environment["LD_LIBRARY_PATH"] = ":".join(folders + [folder for folder in outer.split(":") if folder])
    environment["PATH"] = os.path.join(HERE, ".venv", "bin") + ":" + environment.get("PATH", "")
    packages = glob.glob(os.path.join(HERE, ".venv/lib/python3*/site-packages"))
    environment["PYTHONPATH"] = ":".join([HERE, *packages])
    if arguments[0] == "tests":
        environment.setdefault("CAFFE_TF32", "0")  # gradients are checked by differences
        os.chdir(os.path.join(HERE, ".venv", "test"))
    os.execve(program[0], program + arguments[1:], environment)


def needs_cuda():
    with open(os.path.join(HERE, ".venv", "lib", "libcaffe.so"), "rb") as stream:
        return b"libcublas.so" in stream.read()


def cuda_folders(outer):
    """The folders of this machine that have CUDA's libraries; ends the program if one is missing."""
    places = [*os.environ.get("STAL_CUDA", "").split(":"), *outer.split(":"), *package_folders(outer),
              *sorted(glob.glob("/usr/local/cuda*/lib64"), reverse=True), *linker_folders()]
    found = []
    for library, package in LIBRARIES.items():
        place = next((place for place in places if place and fits(place, library)), None)
        if place is None:
            sys.exit(f"error: {library} was not found on this machine: name its folder in STAL_CUDA, or run "
                     f"`pip install {package}` with the python3 that is on the PATH")
        if place not in found:
            found.append(place)
    return found


def fits(place, library):
    """Whether a folder has the library, and of cuDNN, whose name does not say it, the one for CUDA 13."""
    if not os.path.exists(os.path.join(place, library)):
        return False
    inner = os.path.join(place, "libcudnn_adv.so.9")
    if library != "libcudnn.so.9" or not os.path.exists(inner):
        return True
    with open(inner, "rb") as stream:
        return b"libcublasLt.so.12" not in stream.read()


def package_folders(outer):
    """lib folders of the nvidia packages that the machine's own python3 sees."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONHOME", "PYTHONPATH")}
    environment["LD_LIBRARY_PATH"] = outer
    try:
        answer = subprocess.run(["python3", "-c", "import sys; print('\\n'.join(sys.path))"], env=environment,
                                capture_output=True, text=True)
    except OSError:
        return []
    places = answer.stdout.splitlines()
    return [folder for place in places for folder in sorted(glob.glob(os.path.join(place, "nvidia", "*", "lib")))]


def linker_folders():
    for program in ("ldconfig", "/sbin/ldconfig"):
        try:
            listing = subprocess.run([program, "-p"], capture_output=True, text=True).stdout
        except OSError:
            continue
        return [os.path.dirname(path) for path in re.findall(r"=> (/\S+)", listing)]
    return []


if __name__ == "__main__":
    main(sys.argv[1:])
