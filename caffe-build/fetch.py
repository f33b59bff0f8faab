"""Gets BVLC Caffe's source at commit 99bd997 and checks every file of it.

From, in this order: the tarball named by CAFFE_TARBALL; Debian bullseye's source package, through apt, from the
machine's own Debian mirror; the commit's archive on GitHub.
"""

import glob
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
PACKAGE = "caffe=1.0.0+git20180821.99bd997-8"
# Directories of the upstream tree that the build reads; the manifest lists their files.
NEEDED = ("CMakeLists.txt", "LICENSE", "cmake", "docs/CMakeLists.txt", "examples/CMakeLists.txt", "include",
          "matlab/CMakeLists.txt", "python", "src", "tools", "examples/images")
GITHUB = "https://github.com/BVLC/caffe/archive/99bd99795dcdf0b1d3086a8d67ab1782a8a08383.tar.gz"


def fetch(directory):
    """Unpacks the verified source tree into ``directory``, which must not exist yet."""
    with tempfile.TemporaryDirectory() as scratch:
        problems = []
        for source in (_given, _debian, _github):
            try:
                tarball = source(scratch)
                if tarball:
                    _unpack(tarball, directory)
                    _verify(directory)
                    return
            except (OSError, ValueError, subprocess.CalledProcessError, tarfile.TarError) as error:
                shutil.rmtree(directory, ignore_errors=True)
                problems.append(f"{source.__doc__}: {error}")
    sys.exit("error: Caffe's source could not be had. Set CAFFE_TARBALL to a copy of the source tarball.\n  "
             + "\n  ".join(problems))


def _given(scratch):
    """CAFFE_TARBALL"""
    return os.environ.get("CAFFE_TARBALL")


def _debian(scratch):
    """Debian's source package"""
    mirror = _debian_mirror()
    sources = os.path.join(scratch, "sources.list")
    with open(sources, "w") as stream:
        stream.write(f"deb-src {mirror} bullseye main\n")
    os.makedirs(os.path.join(scratch, "lists", "partial"))
    options = ["-o", f"Dir::Etc::SourceList={sources}", "-o", "Dir::Etc::SourceParts=-",
               "-o", f"Dir::State::Lists={scratch}/lists", "-o", f"Dir::Cache={scratch}/cache",
               "-o", "APT::Sandbox::User=root"]  # the scratch folder is private to the caller
    os.makedirs(os.path.join(scratch, "cache", "archives", "partial"))
    for command in (["update", "-qq"], ["source", "-qq", "--download-only", PACKAGE]):
        subprocess.run(["apt-get", *options, *command], cwd=scratch, check=True)
    return glob.glob(os.path.join(scratch, "caffe_*.orig.tar.gz"))[0]


def _debian_mirror():
    """The address from which this machine gets Debian itself."""
    for path in sorted(glob.glob("/etc/apt/sources.list.d/*.sources")):
        for stanza in open(path).read().split("\n\n"):
            uris = re.search(r"^URIs:\s*(\S+)", stanza, re.M)
            suites = re.search(r"^Suites:\s*(.+)", stanza, re.M)
            if uris and suites and not suites[1].split()[0].endswith(("-security", "-updates")):
                return uris[1]
    for path in ["/etc/apt/sources.list", *sorted(glob.glob("/etc/apt/sources.list.d/*.list"))]:
        for line in open(path) if os.path.exists(path) else ():
            entry = re.match(r"deb\s+(?:\[[^]]*\]\s+)?(\S+)\s+(\S+)\s+main", line)
            if entry and not entry[2].endswith(("-security", "-updates")):
                return entry[1]
    raise ValueError("the machine's apt configuration names no Debian mirror")


def _github(scratch):
    """the commit's archive on GitHub"""
    path = os.path.join(scratch, "github.tar.gz")
    with urllib.request.urlopen(GITHUB, timeout=60) as answer, open(path, "wb") as stream:
        shutil.copyfileobj(answer, stream)
    return path


def _unpack(tarball, directory):
    """Unpacks what NEEDED names; an archive may have one folder around everything."""
    with tarfile.open(tarball) as archive:
        members = [member for member in archive.getmembers() if member.isfile()]
        top = "" if any(member.name == "CMakeLists.txt" for member in members) else members[0].name.split("/")[0] + "/"
        for member in members:
            name = member.name.removeprefix(top)
            if ".." not in name.split("/") and any(name == part or name.startswith(part + "/") for part in NEEDED):
                path = os.path.join(directory, name)
                os.makedirs(os.path.dirname(path), exist_ok=True)
                with archive.extractfile(member) as data, open(path, "wb") as stream:
                    shutil.copyfileobj(data, stream)


def _verify(directory):
    with open(os.path.join(HERE, "source.sha256")) as manifest:
        wanted = dict(reversed(line.rstrip("\n").split("  ", 1)) for line in manifest)
    found = hashes(directory)
    different = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
    if different:
        raise ValueError(f"{len(different)} files are not those of commit 99bd997, {different[0]} for one")


def hashes(directory):
    """{path relative to ``directory``: sha256 in hex} of every file below it."""
    result = {}
    for folder, _, names in os.walk(directory):
        for name in names:
            path = os.path.join(folder, name)
            with open(path, "rb") as stream:
                result[os.path.relpath(path, directory)] = hashlib.sha256(stream.read()).hexdigest()
    return result
