#!/usr/bin/env python3
"""Unpacks the header files of wheels: what lies below a folder `include`. usage: wheel_headers.py WHEELS-FOLDER TO"""

import pathlib
import sys
import zipfile

wheels, target = map(pathlib.Path, sys.argv[1:])
for wheel in sorted(wheels.glob("*.whl")):
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            parts = pathlib.PurePosixPath(name).parts
            if "include" in parts and not name.endswith("/"):
                path = target.joinpath(*parts[parts.index("include") + 1 :])
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(archive.read(name))
