"""run_entry.py LIBRARY ENTRY COUNT: runs an entry of a compiled library on zeros, without weights."""

import ctypes
import sys

library = ctypes.CDLL(sys.argv[1])
session, error = ctypes.c_void_p(), library.nsrt_last_error
error.restype = ctypes.c_char_p


def check(status):
    if status:
        sys.exit(error().decode())


check(library.nsrt_open(sys.argv[2].encode(), ctypes.byref(session)))
for _ in range(int(sys.argv[4])):
    check(library.nsrt_run(session, sys.argv[3].encode()))
library.nsrt_close.argtypes = [ctypes.c_void_p]
library.nsrt_close(session)
