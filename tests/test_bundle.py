"""caffe-build/bundle.py and bundle/: what the launcher finds on a machine and refuses, and the libraries of stubs."""

import importlib.util
import os
import shutil
import subprocess

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.path.join(ROOT, "caffe-build")


def load(path):
    spec = importlib.util.spec_from_file_location(os.path.basename(path), os.path.join(BUILD, f"{path}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def launch(monkeypatch):
    module = load("bundle/launch")
    monkeypatch.setattr(module, "linker_folders", lambda: [])
    monkeypatch.setenv("STAL_CUDA", "")
    monkeypatch.setenv("PATH", "")
    return module


def libraries(folder, names):
    os.makedirs(folder)
    for name in names:
        open(os.path.join(folder, name), "w").close()
    return str(folder)


def test_libraries_are_found_in_named_folders(launch, tmp_path, monkeypatch):
    names = list(launch.LIBRARIES)
    one, other = libraries(tmp_path / "one", names[:2]), libraries(tmp_path / "other", names[1:])
    monkeypatch.setenv("STAL_CUDA", f"{one}:{other}")
    assert launch.cuda_folders("") == [one, other]


def test_libraries_are_found_in_the_packages_of_the_machine_s_python(launch, tmp_path, monkeypatch):
    lib = libraries(tmp_path / "site" / "nvidia" / "cu13" / "lib", launch.LIBRARIES)
    os.makedirs(tmp_path / "bin")
    python = tmp_path / "bin" / "python3"
    python.write_text(f"#!/bin/sh\n[ -z \"$PYTHONHOME\" ] && echo {tmp_path}/site\n")
    python.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin")
    monkeypatch.setenv("PYTHONHOME", "the bundle's")
    assert launch.cuda_folders("") == [lib]


def test_a_missing_library_is_named_with_its_package(launch, tmp_path, monkeypatch):
    monkeypatch.setenv("STAL_CUDA", libraries(tmp_path / "some", set(launch.LIBRARIES) - {"libcudnn.so.9"}))
    with pytest.raises(SystemExit, match=r"libcudnn\.so\.9 was not found .*`pip install nvidia-cudnn-cu13`"):
        launch.cuda_folders("")


@pytest.mark.parametrize("arguments", [[], ["caffee"]])
def test_an_unknown_program_is_refused(launch, arguments):
    with pytest.raises(SystemExit, match="run caffe"):
        launch.main(arguments)


@pytest.mark.parametrize("name, tf32", [("tests", "0"), ("caffe", None)])
def test_programs_start_with_the_bundle_s_libraries_before_the_machine_s(launch, tmp_path, monkeypatch, name, tf32):
    program = tmp_path / {"tests": ".venv/test/test.testbin", "caffe": ".venv/bin/caffe"}[name]
    for path in (program, tmp_path / ".venv" / "lib" / "libcaffe.so"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    started = []
    monkeypatch.setattr(launch, "HERE", str(tmp_path))
    monkeypatch.setattr(launch.os, "execve", lambda *arguments: started.append(arguments))
    monkeypatch.setenv("STAL_OUTER_PATH", "/machine/lib")
    monkeypatch.delenv("CAFFE_TF32", raising=False)
    monkeypatch.chdir(tmp_path)
    launch.main([name, "--flag"])
    path, arguments, environment = started[0]
    assert path == str(program) and arguments == [path, "--flag"]
    assert environment["LD_LIBRARY_PATH"] == f"{tmp_path}/runtime/lib:{tmp_path}/.venv/lib:/machine/lib"
    assert environment.get("CAFFE_TF32") == tf32


def test_benchmarks_start_other_interpreters_as_the_machine_would(monkeypatch):
    worker = load("../benchmarks/worker")
    for variable, value in (("PYTHONHOME", "/bundle"), ("PYTHONPATH", "/bundle"), ("LD_LIBRARY_PATH", "/bundle")):
        monkeypatch.setenv(variable, value)
    monkeypatch.delenv("STAL_OUTER_PATH", raising=False)
    assert worker.foreign_environment() == dict(os.environ)
    monkeypatch.setenv("STAL_OUTER_PATH", "/machine/lib")
    environment = worker.foreign_environment()
    assert environment["LD_LIBRARY_PATH"] == "/machine/lib"
    assert not {"PYTHONHOME", "PYTHONPATH", "STAL_OUTER_PATH"} & set(environment)


def test_a_program_that_was_not_packed_is_refused(launch):
    with pytest.raises(SystemExit, match="pack it with --tests"):
        launch.main(["tests"])


@pytest.fixture
def bundle(monkeypatch):
    monkeypatch.syspath_prepend(BUILD)  # the folder of the script, where it finds cuda.py
    return load("bundle")


@pytest.fixture
def compiled(tmp_path):
    """A library with functions and data, and a program that calls one of the functions only if it gets an argument."""
    (tmp_path / "far.c").write_text("int far_called(void) { return 3; } int far_other(void) { return 4; }\n"
                                    "int far_data = 5;\n")
    (tmp_path / "far.map").write_text("FAR_1 { global: far_*; };\n")
    (tmp_path / "near.c").write_text("int far_called(void);\n"
                                     "int main(int n, char** a) { return n > 1 ? far_called() : 0; }\n")
    library = tmp_path / "libfar.so.1"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, tmp_path / "far.c", "-Wl,-soname,libfar.so.1",
                    f"-Wl,--version-script,{tmp_path}/far.map"], check=True)
    subprocess.run(["gcc", "-o", tmp_path / "near", tmp_path / "near.c", library, f"-Wl,-rpath,{tmp_path}"], check=True)
    return tmp_path


def test_a_stub_loads_and_ends_with_a_sentence_when_called(compiled, bundle):
    program, library = compiled / "near", compiled / "libfar.so.1"
    assert subprocess.run([program, "call"]).returncode == 3
    original = shutil.copy(library, compiled / "original.so")
    bundle.write_stub(str(library), "libfar.so.1", str(original), [str(program)])
    assert subprocess.run([program]).returncode == 0
    ended = subprocess.run([program, "call"], capture_output=True, text=True)
    assert ended.returncode < 0 and "libfar.so.1 is not in this bundle" in ended.stderr
    assert "no version information" not in ended.stderr
    symbols = subprocess.run(["nm", "-D", "--defined-only", library], capture_output=True, text=True).stdout
    assert "far_called" in symbols and "far_other" not in symbols


def test_a_library_whose_data_are_used_is_not_stubbed(compiled, bundle):
    (compiled / "near.c").write_text("extern int far_data; int main(void) { return far_data; }\n")
    subprocess.run(["gcc", "-fPIC", "-shared", "-o", compiled / "user.so", compiled / "near.c", compiled / "libfar.so.1"],
                   check=True)
    with pytest.raises(SystemExit, match="far_data is data"):
        bundle.write_stub(str(compiled / "stub.so"), "libfar.so.1", str(compiled / "libfar.so.1"),
                                  [str(compiled / "user.so")])
