"""Turns a .cu file into C++ for the emulator: python3 rewrite.py IN.cu OUT.cpp

``kernel<T><<<grid, block>>>(arguments)`` becomes ``emulation::launch(...)(arguments)``, ``extern __shared__ T x[];`` a
pointer to the block's dynamic shared memory, and behind ``__shared__ T x[N];`` comes a call that makes it NaN in each
block. The rest of CUDA is C++ with the emulator's headers.
A .cuh file that IN.cu includes is rewritten too (beside OUT.cpp), and a macro of another header that launches kernels
is defined anew. Lines keep their numbers. OUT.cpp.d names, for make and ninja, every file that was read.
"""

import os
import re
import sys

CALLEE = re.compile(r"[A-Za-z_][\w:#]*\s*$")
EXTERN_SHARED = re.compile(r"\bextern\s+__shared__\s+(?:__align__\([^)]*\)\s*)?([\w:\s]+?)\s*\b(\w+)\s*\[\s*\]\s*;")
SHARED = re.compile(r"(?<!extern )__shared__\s+([^;()]+);")
INCLUDE = re.compile(r"^[ \t]*#[ \t]*include[ \t]*[<\"]([^>\"]+)[>\"].*$", re.M)
LAUNCHING_MACRO = re.compile(r"^[ \t]*#[ \t]*define[ \t]+(\w+)(?:.*\\\n)*.*$", re.M)


def main():
    source, target = (os.path.abspath(path) for path in sys.argv[1:])
    os.makedirs(os.path.dirname(target), exist_ok=True)
    read = translate(source, target, '#include "emulation_kernel.h"\n')
    with open(target + ".d", "w", encoding="utf-8") as stream:
        stream.write(f"{target}: {' '.join(sorted(read))}\n")


def translate(source, target, first=""):
    """Writes ``source``, rewritten, to ``target``, behind the line ``first``; returns the paths of what was read."""
    with open(source, encoding="utf-8") as stream:
        text = stream.read()
    read, macros = {source}, []

    def include(match):
        path = find(match[1], source)
        if not path:
            return match[0]
        read.add(path)
        if path.endswith(".cuh"):
            copy = f"{target}.{os.path.basename(path)}"
            read.update(translate(path, copy))
            return f'#include "{copy}"'
        macros.extend(launching_macros(path, text))
        beside = os.path.dirname(path) == os.path.dirname(source)
        return f'#include "{path}"' if beside else match[0]

    result = INCLUDE.sub(include, rewrite(text, source))
    if macros:
        end = list(INCLUDE.finditer(result))[-1].end() + 1
        line = result.count("\n", 0, end) + 1
        result = f'{result[:end]}{"".join(macros)}#line {line} "{source}"\n{result[end:]}'
    with open(target, "w", encoding="utf-8") as stream:
        stream.write(f'{first}#line 1 "{source}"\n{result}')
    return read


def rewrite(text, name):
    """``text`` with its launches and dynamic shared arrays in C++, line for line."""
    plain = without_comments(text)
    pieces, done = [], 0
    for match in re.finditer("<<<", plain):
        start, callee = callee_before(plain, match.start(), name)
        end = chevrons_end(plain, match.end(), name)
        base = re.match(r"[\w:#]+", callee)[0].split("::")[-1]
        pieces += [text[done:start], f"emulation::launch(EMULATION_NAME({base}), emulation::Configuration(",
                   text[match.end():end], "), [&](const auto&... each) { ", callee, "(each...); })",
                   "".join(re.findall(r"(?:\\)?\n", text[start:match.start()]))]
        done = end + 3
    result = SHARED.sub(fresh, "".join([*pieces, text[done:]]))
    return EXTERN_SHARED.sub(
        lambda m: f"{m[1]}* {m[2]} = static_cast<{m[1]}*>(emulation::dynamic_shared());" + "\n" * m[0].count("\n"), result)


def fresh(match):
    """A declaration of shared variables, with a call for each behind it."""
    declared = re.sub(r"<[^;]*>", "", match[1])
    names = re.findall(r"(\w+)\s*(?:\[[^]]*\]\s*)*(?:,|$)", declared)
    return match[0] + "".join(f" emulation::fresh(&{name}, sizeof({name}));" for name in names)


def without_comments(text):
    """``text`` with blanks for every character of a comment or a string, so that positions stay."""
    pattern = r"//[^\n]*|/\*.*?\*/|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])+'"
    return re.sub(pattern, lambda m: re.sub(r"[^\n\\]|\\(?!\n)", " ", m[0]), text, flags=re.S)


def callee_before(plain, at, name):
    """(where the kernel's name starts, name with template arguments on one line) for the <<< at ``at``."""
    before = re.sub(r"\\\n", "  ", plain[:at]).rstrip()
    end = len(before)
    if before.endswith(">"):
        depth = 0
        while end > 0 and (depth or end == len(before)):
            end -= 1
            depth += {">": 1, "<": -1}.get(before[end], 0)
    match = CALLEE.search(before, 0, end)
    if not match:
        sys.exit(f"error: {name}:{plain.count(chr(10), 0, at) + 1}: no kernel's name before <<<: write kernel<T><<<...>>>")
    return match.start(), " ".join(before[match.start():].split())


def chevrons_end(plain, at, name):
    """Where the >>> stands that closes the <<< ending at ``at``."""
    depth = 0
    for end in range(at, len(plain)):
        depth += {"(": 1, ")": -1}.get(plain[end], 0)
        if depth == 0 and plain.startswith(">>>", end):
            return end
    sys.exit(f"error: {name}:{plain.count(chr(10), 0, at) + 1}: <<< without >>>")


def launching_macros(path, text):
    """Definitions, rewritten, of the macros in the header ``path`` that launch kernels and that ``text`` uses."""
    with open(path, encoding="utf-8") as stream:
        header = stream.read()
    return [f"#undef {match[1]}\n{rewrite(without_comments(match[0]).replace(chr(92) + chr(10), ' '), path)}\n"
            for match in LAUNCHING_MACRO.finditer(header)
            if "<<<" in match[0] and re.search(rf"\b{match[1]}\b", text)]


def find(included, source):
    """The file behind an include: beside ``source`` or in an include/ folder above it; None for what is elsewhere."""
    folder = os.path.dirname(os.path.abspath(source))
    candidates = [os.path.join(folder, included)]
    while folder != os.path.dirname(folder):
        candidates.append(os.path.join(folder, "include", included))
        folder = os.path.dirname(folder)
    return next((path for path in candidates if os.path.isfile(path)), None)


if __name__ == "__main__":
    main()
