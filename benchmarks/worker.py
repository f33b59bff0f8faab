"""A program of a benchmark's side in a process of its own, which answers each line with a line of JSON."""

import json
import os
import subprocess

from stal.errors import InputError


def foreign_environment():
    """The environment for another interpreter than the project's: a bundle (caffe-build/bundle/) has set its own Python's
    variables."""
    environment = dict(os.environ)
    if "STAL_OUTER_PATH" in environment:
        environment["LD_LIBRARY_PATH"] = environment.pop("STAL_OUTER_PATH")
        for name in ("PYTHONHOME", "PYTHONPATH"):
            environment.pop(name, None)
    return environment


class Worker:
    """The process; a context manager. ``first`` is the line that it begins with, a dict."""

    def __init__(self, name, command, env=None):
        """name: what to call it when it ends without an answer."""
        self._name = name
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)
        self.first = self._answer()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()

    def ask(self, line):
        """Sends a line; returns the answer, a dict."""
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self):
        line = self._process.stdout.readline()
        if not line:
            raise InputError(f"{self._name} ended with status {self._process.wait()}: its own message is above; if there is "
                             "none, memory ran out, so give fewer --frames")
        return json.loads(line)
