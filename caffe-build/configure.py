"""CMake in a build folder of the cache, which checkouts share."""

import os
import subprocess


def configure(command, build, log):
    """Runs ``command`` (a list, without -B) for the folder ``build``, writing to the open file ``log``; False if it failed.

    A folder that was last configured by another command starts anew (its objects stay, and are compiled again where
    theirs changed): with another compiler, as that of another checkout's .venv, CMake would drop its cache in mid-run and go
    on with the defaults of all other options.
    """
    stamp = os.path.join(build, "configured-by")
    words = "\n".join(command)
    same = os.path.exists(stamp) and open(stamp).read() == words
    if os.path.exists(stamp):
        os.remove(stamp)
    run = [*command, "-B", build, *([] if same else ["--fresh"])]
    if subprocess.run(run, stdout=log, stderr=subprocess.STDOUT).returncode:
        return False
    with open(stamp, "w") as stream:
        stream.write(words)
    return True
