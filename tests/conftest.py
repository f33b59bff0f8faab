"""For all tests: a net's construction logs thousands of lines, which would bury what a failing test prints."""

import os

os.environ.setdefault("GLOG_minloglevel", "2")
