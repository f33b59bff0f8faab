"""caffe-build/configure.py on a tiny CMake project: a build folder that checkouts with compilers of their own share."""

import importlib.util
import os
import shutil
import subprocess

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PROJECT = """cmake_minimum_required(VERSION 3.20)
project(one CXX)
option(EXTRA "for a package that is not there" ON)
if(EXTRA)
  message(FATAL_ERROR "EXTRA is on")
endif()
if(FAIL)
  message(FATAL_ERROR "as asked")
endif()
add_library(one one.cpp)
"""


@pytest.fixture
def configured(tmp_path):
    """configured(checkout, *flags): does the folder build configure with that checkout's compiler?"""
    spec = importlib.util.spec_from_file_location("configure", os.path.join(ROOT, "caffe-build", "configure.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (tmp_path / "CMakeLists.txt").write_text(PROJECT)
    (tmp_path / "one.cpp").write_text("int one() { return 1; }\n")
    for checkout in ("first", "second"):
        (tmp_path / checkout).mkdir()
        compiler = tmp_path / checkout / "c++"
        compiler.write_text(f"#!/bin/sh\nexec {shutil.which('c++')} \"$@\"\n")
        compiler.chmod(0o755)

    def run(checkout, *flags):
        command = ["cmake", "-G", "Ninja", "-S", str(tmp_path), "-DEXTRA=OFF",
                   f"-DCMAKE_CXX_COMPILER={tmp_path / checkout / 'c++'}"]
        with open(tmp_path / "log", "w") as log:
            return module.configure([*command, *flags], str(tmp_path / "build"), log)
    return run


def compiles(tmp_path):
    """Builds; the object files that this compiled."""
    lines = subprocess.run(["ninja", "-C", str(tmp_path / "build"), "-v"], capture_output=True, text=True, check=True).stdout
    return [line for line in lines.splitlines() if "-c " in line and "one.cpp" in line]


def test_another_checkouts_compiler_keeps_the_options(configured, tmp_path):
    assert configured("first")
    first, = compiles(tmp_path)
    assert str(tmp_path / "first" / "c++") in first
    assert configured("second"), (tmp_path / "log").read_text()
    second, = compiles(tmp_path)
    assert str(tmp_path / "second" / "c++") in second


def test_the_same_command_compiles_nothing_again(configured, tmp_path):
    assert configured("first")
    assert len(compiles(tmp_path)) == 1
    assert configured("first") and "Detecting" not in (tmp_path / "log").read_text()
    assert compiles(tmp_path) == []


def test_a_failed_configuration_is_not_taken_up(configured, tmp_path):
    assert configured("first")
    assert not configured("first", "-DFAIL=ON") and "as asked" in (tmp_path / "log").read_text()
    assert configured("first"), (tmp_path / "log").read_text()
