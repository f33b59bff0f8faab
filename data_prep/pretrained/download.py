"""Getting a published file: from its addresses, or from a copy that somebody has; its hash decides."""

import hashlib
import http.client
import os
import re
import shutil
import sys
import urllib.error
import urllib.request

from tqdm import tqdm

from data_prep.pretrained.registry import hash_text
from stal.errors import InputError
from stal.files import replacing

_BLOCK = 1 << 18


class _Broken(Exception):
    """An address that did not give the file."""


def digest(path, kind):
    """The hash of a file in hex; kind is sha1, sha256 or ``git blob``, which is what git hash-object prints."""
    state = hashlib.sha256() if kind == "sha256" else hashlib.sha1()
    if kind == "git blob":
        state.update(f"blob {os.path.getsize(path)}\0".encode())
    with open(path, "rb") as stream:
        while block := stream.read(_BLOCK):
            state.update(block)
    return state.hexdigest()


def verdict(model, path, otherwise="remove it and get it again"):
    """What the hash of ``path`` says of it, in words. Raises InputError that ends in ``otherwise`` for another file."""
    if not model.hash:
        return (f"sha256 {digest(path, 'sha256')}; nobody has published a hash of this file, so nothing vouches that it is "
                "the authors'")
    kind, value = model.hash
    found = digest(path, kind)
    if not found.startswith(value):
        raise InputError(f"{path} is not the published {model.file} ({kind} {found} instead of {value}): "
                         f"{otherwise}")
    return f"{hash_text(model)}, as published"


def fetch(model, folder):
    """Downloads a model into ``folder`` unless it is there; an interrupted download goes on where it stopped.

    What has come lies in FILE.part until its hash is right. Without a published hash nothing would tell a file that was
    put together from two addresses, so such a download starts anew each time.

    Returns:
        the path, and what the hash says, in words.
    Raises:
        InputError: no address gave the published file, the user interrupted it, or it cannot be written.
    """
    path = os.path.join(folder, model.file)
    if os.path.exists(path):
        return path, f"already there; {verdict(model, path)}"
    part, problems = f"{path}.part", []
    try:
        os.makedirs(folder, exist_ok=True)
        for url in model.urls:
            problem = _try(model, url, part)
            if not problem:
                said = verdict(model, part)
                os.replace(part, path)
                return path, said
            problems.append(f"{url}: {problem}")
    except KeyboardInterrupt:
        kept = "goes on from there" if model.hash else "starts anew, because no hash is published"
        raise InputError(f"interrupted with {part} kept: the same command {kept}") from None
    except OSError as error:
        raise InputError(f"cannot write {part} ({error.strerror}): choose another folder with --out") from None
    raise InputError(f"{model.file} could not be had ({'; '.join(problems)}): try again later, or give a copy of it with "
                     "--file")


def copy(model, given, folder):
    """Copies the file ``given`` into ``folder`` under its published name, if its hash is right; returns as :func:`fetch`.

    Raises:
        InputError: it is another file, or cannot be read or written.
    """
    path = os.path.join(folder, model.file)
    try:
        said = verdict(model, given, "give another file")
        with open(given, "rb") as source, replacing(path, "wb") as stream:
            shutil.copyfileobj(source, stream)
    except OSError as error:
        raise InputError(f"cannot copy {given} to {path} ({error.strerror}): give another --file or --out") from None
    return path, said


def _try(model, url, part):
    """Downloads from one address; returns what went wrong, in words, or ""."""
    for resume in (bool(model.hash), False):
        try:
            continued = _download(url, part, resume)
        except _Broken as error:
            return str(error)
        if not model.hash or digest(part, model.hash[0]).startswith(model.hash[1]):
            return ""
        os.remove(part)
        if not continued:  # else the old part may have been wrong: once more from the beginning
            break
    return f"gave a file with another {model.hash[0]}"


def _download(url, part, resume):
    """Writes what an address gives to ``part``; returns whether that continued an older part. Raises _Broken."""
    have = os.path.getsize(part) if resume and os.path.exists(part) else 0
    headers = {"User-Agent": "stal-weights", **({"Range": f"bytes={have}-"} if have else {})}
    try:
        answer = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=60)
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:  # nothing lies behind what there is
            return True
        raise _Broken(f"{error.code} {error.reason}") from None
    except urllib.error.URLError as error:
        raise _Broken(str(error.reason)) from None
    except (OSError, http.client.HTTPException) as error:
        raise _Broken(str(error)) from None
    with answer:
        continued = answer.status == 206
        if continued and not re.match(rf"bytes {have}-", answer.headers.get("Content-Range", "")):
            raise _Broken("answered with another part of the file than asked for")
        have = have if continued else 0  # a server that knows no ranges sends all of it
        length = answer.headers.get("Content-Length")
        total = have + int(length) if length else None
        with open(part, "ab" if continued else "wb") as stream, \
                tqdm(total=total, initial=have, unit="B", unit_scale=True, desc=os.path.basename(url).partition("?")[0],
                     file=sys.stderr) as progress:
            for block in _blocks(answer):
                stream.write(block)
                have += len(block)
                progress.update(len(block))
    if total is not None and have < total:
        raise _Broken(f"the connection ended after {have} of {total} bytes")
    return continued


def _blocks(answer):
    """Yields what the network brings; its errors are the address's, not the disk's."""
    try:
        while block := answer.read(_BLOCK):
            yield block
    except (OSError, http.client.HTTPException) as error:
        raise _Broken(f"the connection broke ({error})") from None
