"""caffe-build/emulation: kernels and CUDA's libraries on the CPU. The programs are in its folder test/."""

import glob
import itertools
import os
import subprocess
import sys

import numpy as np
import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
HERE = os.path.join(ROOT, "caffe-build", "emulation")
CORE = [os.path.join(HERE, name) for name in ("runtime.cpp", "threads.cpp")]
ORDERS = ("forward", "reverse", "shuffle", "shuffle:5")


def build(folder, name, sources, *flags):
    """Compiles test/NAME.cu, rewritten, with the emulator's ``sources`` and returns the program's path."""
    rewritten = os.path.join(folder, name + ".cpp")
    subprocess.run([sys.executable, os.path.join(HERE, "rewrite.py"), os.path.join(HERE, "test", name + ".cu"), rewritten],
                   check=True)
    program = os.path.join(folder, name)
    subprocess.run(["g++", "-std=c++17", *flags, "-I" + os.path.join(HERE, "include"), rewritten, *sources, "-o", program,
                    "-lopenblas", "-pthread"], check=True)
    return program


@pytest.fixture(scope="module")
def kernels(tmp_path_factory):
    """The program of test/kernels.cu."""
    return build(str(tmp_path_factory.mktemp("kernels")), "kernels", CORE, "-O2")


@pytest.fixture(scope="module")
def checked_kernels(tmp_path_factory):
    """The same with AddressSanitizer."""
    return build(str(tmp_path_factory.mktemp("checked")), "kernels", CORE, "-O1", "-fsanitize=address")


@pytest.fixture(scope="module")
def libraries(tmp_path_factory):
    """The program of test/libraries.cu."""
    everything = sorted(glob.glob(os.path.join(HERE, "*.cpp")))
    return build(str(tmp_path_factory.mktemp("libraries")), "libraries", everything, "-O1")


def start(program, *arguments, folder=None, **environment):
    """Runs a program with STAL_* variables in ``environment`` only; returns the finished process."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("STAL_EMULAT")}
    return subprocess.run([program, *map(str, arguments)], cwd=folder, env={**kept, **environment}, capture_output=True,
                          text=True)


def lines(program, case, **environment):
    """The lines that a case prints before its last, "end"."""
    done = start(program, case, **environment)
    assert done.returncode == 0 and done.stdout.endswith("end\n"), done.stderr
    return done.stdout.split("\n")[:-2]


def numbers(line):
    return [float(word) for word in line.split()]


def test_launches_in_every_form(kernels):
    first, second, line = lines(kernels, "launches")
    assert numbers(first) == [1, 3, 2, 2, 2, 2, 2, 5]
    assert numbers(second) == [3] * 8
    number = [at for at, text in enumerate(open(os.path.join(HERE, "test", "kernels.cu")), 1) if "__LINE__" in text][0]
    assert line == f"line {number}"


def test_rewriting_names_the_place_of_a_broken_launch(tmp_path):
    (tmp_path / "x.cu").write_text("void f() {\n  k<<<1, 2>>(3);\n}\n")
    done = subprocess.run([sys.executable, os.path.join(HERE, "rewrite.py"), "x.cu", "x.cpp"], cwd=tmp_path,
                          capture_output=True, text=True)
    assert done.returncode == 1 and "x.cu:2: <<< without >>>" in done.stderr


def test_files_read_are_listed_for_ninja(kernels):
    listed = open(kernels + ".cpp.d").read().split()
    assert listed[0] == kernels + ".cpp:"
    assert {os.path.basename(path) for path in listed[1:]} == {"kernels.cu", "kernels.cuh", "macros.hpp"}


@pytest.mark.parametrize("order", ORDERS)
def test_barriers(kernels, order):
    reversed_blocks, sums = lines(kernels, "barriers", STAL_EMULATION_ORDER=order)
    blocks = np.arange(192).reshape(2, 96)[:, ::-1]
    assert numbers(reversed_blocks) == list(blocks.ravel())
    assert numbers(sums) == list(np.cumsum(blocks[0])) + list(blocks[1])


@pytest.mark.parametrize("order", ORDERS)
def test_shuffles(kernels, order):
    got = np.reshape(numbers(lines(kernels, "shuffles", STAL_EMULATION_ORDER=order)[0]), (128, 6))
    for i in range(128):
        lane, warp = i % 32, i - i % 32
        assert list(got[i]) == [
            warp + (lane ^ 5),
            i + 3 if lane + 3 < 32 else i,
            i + 3 if lane % 8 + 3 < 8 else i,
            i - 3 if lane >= 3 else i,
            warp + lane - lane % 16 + 7,
            warp + (lane ^ 1 if lane < 16 else lane ^ 2)]


@pytest.mark.parametrize("order", ORDERS)
def test_atomics(kernels, order):
    assert [numbers(line) for line in lines(kernels, "atomics", STAL_EMULATION_ORDER=order)] == [[120], [60, 240], [39]]


@pytest.mark.parametrize("case, sentence", [
    ("some_return", "kernel some_return, block (0, 0, 0): 63 of its 64 threads wait at __syncthreads, but the others"),
    ("some_wait_elsewhere", "kernel some_wait_elsewhere, block (0, 0, 0): 16 lanes of warp 0 wait at a shuffle"),
    ("read_absent_lane", "kernel read_absent_lane, block (0, 0, 0): a shuffle reads lane 8, which takes no part in it"),
    ("kernel_on_host_memory", "count_down: argument 1 is a host pointer"),
])
def test_what_is_undefined_on_a_gpu_aborts(kernels, case, sentence):
    done = start(kernels, case)
    assert done.returncode == -6 and sentence in done.stderr


def test_host_code_cannot_read_device_memory(kernels):
    assert start(kernels, "host_on_device_memory").returncode == -11


@pytest.mark.parametrize("case", ["no_barrier", "two_writers"])
def test_a_race_differs_between_orders(kernels, case):
    results = {order: lines(kernels, case, STAL_EMULATION_ORDER=order)[0] for order in ORDERS}
    assert len({results["forward"], results["reverse"], results["shuffle"]}) == 3
    assert results["forward"] == lines(kernels, case)[0]
    assert results["shuffle:5"] == lines(kernels, case, STAL_EMULATION_ORDER="shuffle:5")[0]


def test_shared_memory_that_nothing_wrote_is_nan(kernels):
    assert np.isnan(numbers(lines(kernels, "unwritten_shared")[0])[:6]).all()


def test_an_unknown_order_is_refused(kernels):
    assert "sideways is none of forward" in start(kernels, "launches", STAL_EMULATION_ORDER="sideways").stderr


def test_bad_launches_set_the_error(kernels):
    bad = "cudaErrorInvalidConfiguration"
    assert lines(kernels, "bad_launches") == [] and start(kernels, "bad_launches").stdout.split() == [
        bad, bad, "cudaSuccess", bad, bad, bad, bad, "cudaSuccess", "end"]


def test_copies_and_frees_are_checked(kernels):
    words = start(kernels, "copies").stdout.split()
    assert [word.lstrip("-") for word in words[:2]] == ["nan", "nan"]
    assert words[2:] == ["cudaSuccess"] + ["cudaErrorInvalidValue"] * 6 + ["cudaSuccess", "end"]


def test_device_pointers_in_a_struct(kernels):
    assert [numbers(line) for line in lines(kernels, "pointers_in_a_struct")] == [[4, 4]] * 2


@pytest.mark.parametrize("count, words", [
    ("0", ["cudaErrorNoDevice", "0", "cudaErrorNoDevice"]),
    ("1", ["cudaSuccess", "1", "cudaErrorInvalidDevice"]),
    ("2", ["cudaSuccess", "2", "cudaSuccess"]),
])
def test_number_of_devices(kernels, count, words):
    assert start(kernels, "devices", STAL_EMULATED_GPUS=count).stdout.split() == [*words, "end"]


def test_memory_of_another_device(kernels):
    done = start(kernels, "other_device", STAL_EMULATED_GPUS="2")
    assert "count_down: argument 1 lies on device 0, but the current one is 1" in done.stderr


def test_counts(kernels, tmp_path):
    path = tmp_path / "counts.csv"
    lines(kernels, "barriers", STAL_EMULATION_COUNTS=str(path))
    counts = dict(line.split(",") for line in path.read_text().splitlines())
    assert counts == {"what": "calls", "cudaMalloc": "3", "cudaFree": "3", "cudaMemcpy host-to-device": "1",
                      "cudaMemcpy device-to-host": "2", "reverse": "1", "prefix_sums": "1"}


def test_python_loads_a_library_with_kernels_and_reads_its_counts(tmp_path):
    library = build(str(tmp_path), "kernels", CORE, "-shared", "-fPIC")
    code = ("import ctypes, sys; library = ctypes.CDLL(sys.argv[1]); library.emulation_counts.restype = ctypes.c_char_p; "
            "names = (ctypes.c_char_p * 2)(b'kernels', b'much_shared'); library.emulation_reset_counts(); "
            "library.main(2, names); print(library.emulation_counts().decode())")
    done = start(sys.executable, "-c", code, library)
    assert "much_shared,1\n" in done.stdout, done.stderr


@pytest.mark.parametrize("case", ["barriers", "shuffles", "pointers_in_a_struct"])
def test_sound_kernels_pass_under_address_sanitizer(checked_kernels, case):
    assert start(checked_kernels, case).stderr == ""


def test_address_sanitizer_sees_an_overflow(checked_kernels):
    done = start(checked_kernels, "overflow")
    assert done.returncode != 0 and "heap-buffer-overflow" in done.stderr and "overflow(float*)" in done.stderr


def put(folder, *arrays):
    """Writes the operands of a program and removes an old result."""
    for number, array in enumerate(arrays):
        array.tofile(folder / f"in{number}.bin")
    (folder / "out.bin").unlink(missing_ok=True)


@pytest.mark.parametrize("of_a, of_b, beta", itertools.product((0, 1), (0, 1), (0, 0.5)))
def test_gemm(libraries, tmp_path, of_a, of_b, beta):
    random = np.random.default_rng(0)
    m, n, k = 5, 3, 7
    a, b = random.standard_normal((m, k), np.float32), random.standard_normal((k, n), np.float32)
    c = random.standard_normal((m, n), np.float32) if beta else np.full((m, n), np.nan, np.float32)
    put(tmp_path, (a if of_a else a.T).ravel(), (b if of_b else b.T).ravel(), c.T.ravel())
    assert start(libraries, "gemm", of_a, of_b, m, n, k, beta, folder=tmp_path).stdout == "0\n"
    expected = 2 * a @ b + (beta * c if beta else 0)
    np.testing.assert_allclose(np.fromfile(tmp_path / "out.bin", np.float32).reshape(n, m).T, expected, rtol=1e-5, atol=1e-5)


def test_gemm_beyond_the_end_of_a_matrix_aborts(libraries, tmp_path):
    put(tmp_path, np.zeros(34, np.float32), np.zeros(21, np.float32), np.zeros(15, np.float32))
    assert "cublasSgemm: A is too small" in start(libraries, "gemm", 0, 0, 5, 3, 7, 1, folder=tmp_path).stderr


def test_random_numbers(libraries, tmp_path):
    assert start(libraries, "random", folder=tmp_path).stdout == "105\n"
    first, again, normal = np.fromfile(tmp_path / "out.bin", np.float32).reshape(3, 10000)
    assert (first == again).all() and (first > 0).all() and (first <= 1).all()
    assert abs(first.mean() - 0.5) < 0.02 and abs(normal.mean() - 3) < 0.1 and abs(normal.std() - 2) < 0.1


SHAPES = {  # n c h w, k r s, pad, stride, dilation (h, w each), groups
    "plain": (2, 3, 6, 5, 4, 3, 2, 0, 0, 1, 1, 1, 1, 1),
    "padded": (1, 2, 5, 7, 3, 3, 3, 1, 2, 1, 1, 1, 1, 1),
    "strided": (2, 2, 9, 8, 2, 3, 3, 1, 1, 2, 3, 1, 1, 1),
    "dilated": (1, 2, 9, 9, 2, 3, 2, 2, 1, 1, 1, 2, 3, 1),
    "grouped": (2, 6, 5, 5, 4, 3, 3, 1, 1, 2, 1, 1, 1, 2),
}


def map_size(shape):
    _, _, h, w, _, r, s, pad_h, pad_w, stride_h, stride_w, dilation_h, dilation_w, _ = shape
    return ((h + 2 * pad_h - dilation_h * (r - 1) - 1) // stride_h + 1,
            (w + 2 * pad_w - dilation_w * (s - 1) - 1) // stride_w + 1)


def convolution_matrix(shape, weight):
    """The matrix (elements of a map × elements of an image) that a convolution with ``weight`` is."""
    _, c, h, w, k, r, s, pad_h, pad_w, stride_h, stride_w, dilation_h, dilation_w, groups = shape
    rows, columns = map_size(shape)
    matrix = np.zeros((k, rows, columns, c, h, w))
    for o, i, j, at, y, x in np.ndindex(k, rows, columns, c // groups, r, s):
        v, u = i * stride_h - pad_h + y * dilation_h, j * stride_w - pad_w + x * dilation_w
        if 0 <= v < h and 0 <= u < w:
            matrix[o, i, j, o // (k // groups) * (c // groups) + at, v, u] += weight[o, at, y, x]
    return matrix.reshape(k * rows * columns, c * h * w)


def convolve(libraries, folder, kind, direction, algorithm, workspace, factors, shape, operands):
    """(what the program says, the result) of a convolution in a direction 0..2: map, image, weight."""
    put(folder, *operands)
    done = start(libraries, kind, direction, algorithm, workspace, *factors, *shape, *map_size(shape), folder=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip(), np.fromfile(folder / "out.bin", operands[2].dtype).reshape(operands[2].shape)


@pytest.mark.parametrize("name, direction", itertools.product(SHAPES, range(3)))
def test_convolution(libraries, tmp_path, name, direction):
    random = np.random.default_rng(1)
    shape = SHAPES[name]
    n, c, h, w, k, r, s = shape[:7]
    kind = np.float64 if name == "grouped" else np.float32
    x = random.standard_normal((n, c, h, w))
    weight = random.standard_normal((k, c // shape[-1], r, s))
    dy = random.standard_normal((n, k, *map_size(shape)))
    matrix = convolution_matrix(shape, weight)
    if direction == 0:
        operands, result = (x, weight), (x.reshape(n, -1) @ matrix.T).reshape(dy.shape)
    elif direction == 1:
        operands, result = (weight, dy), (dy.reshape(n, -1) @ matrix).reshape(x.shape)
    else:  # linear in the weights: the derivative by each is the product with that one at 1
        operands, result = (x, dy), np.zeros_like(weight)
        for place in np.ndindex(*weight.shape):
            one = np.zeros_like(weight)
            one[place] = 1
            result[place] = np.sum((x.reshape(n, -1) @ convolution_matrix(shape, one).T) * dy.reshape(n, -1))
    operands = tuple(operand.astype(kind) for operand in operands)
    old = random.standard_normal(result.shape).astype(kind)
    for algorithm, alpha, beta in ((0, 1, 0), (1, 0.5, 2)):
        before = old if beta else np.full_like(old, np.nan)
        said, got = convolve(libraries, tmp_path, "double" if kind == np.float64 else "float", direction, algorithm,
                             algorithm << 20, (alpha, beta), shape, (*operands, before))
        assert said == "CUDNN_STATUS_SUCCESS"
        np.testing.assert_allclose(got, alpha * result + (beta * old if beta else 0), rtol=1e-5, atol=1e-5)


def test_convolution_refuses_a_short_workspace_and_wrong_shapes(libraries, tmp_path):
    def say(algorithm, workspace, shape):
        operands = (np.zeros(99, np.float32), np.zeros(99, np.float32), np.zeros(99, np.float32))
        put(tmp_path, *operands)
        return start(libraries, "float", 0, algorithm, workspace, 1, 0, *shape, folder=tmp_path).stdout.strip()

    good = (1, 2, 3, 3, 2, 2, 2, 0, 0, 1, 1, 1, 1, 1, 2, 2)
    assert say(1, 1 << 20, good) == "CUDNN_STATUS_SUCCESS"
    assert say(1, (1 << 20) - 1, good) == "CUDNN_STATUS_BAD_PARAM"
    assert say(2, 1 << 20, good) == "CUDNN_STATUS_NOT_SUPPORTED"
    assert say(0, 0, (*good[:14], 2, 3)) == "CUDNN_STATUS_BAD_PARAM"  # map's width
    assert say(0, 0, (1, 3, 3, 3, 2, 2, 2, 0, 0, 1, 1, 1, 1, 2, 2, 2)) == "CUDNN_STATUS_BAD_PARAM"  # channels in groups
    assert say(0, 0, (1, 2, 3, 3, 3, 2, 2, 0, 0, 1, 1, 1, 1, 2, 2, 2)) == "CUDNN_STATUS_BAD_PARAM"  # outputs in groups


@pytest.mark.parametrize("workspace, said", [
    (1 << 20, "1 CUDNN_STATUS_SUCCESS 1048576\n0 CUDNN_STATUS_SUCCESS 0\n2 CUDNN_STATUS_NOT_SUPPORTED 0\n"),
    (100, "0 CUDNN_STATUS_SUCCESS 0\n1 CUDNN_STATUS_ALLOC_FAILED 1048576\n2 CUDNN_STATUS_NOT_SUPPORTED 0\n"),
])
def test_search_ranks_algorithms_and_overwrites_its_output(libraries, tmp_path, workspace, said):
    assert start(libraries, "search", workspace, folder=tmp_path).stdout == said
    assert np.isnan(np.fromfile(tmp_path / "out.bin", np.float32)).all()


def test_collectives(libraries):
    assert start(libraries, "reduce", STAL_EMULATED_GPUS="3").stdout == "6 30 3 20\n" * 3
