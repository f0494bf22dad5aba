"""status.py STATUS COMMAND...: runs a command, prints all it said, and fails unless it exits with STATUS."""

import subprocess
import sys

result = subprocess.run(sys.argv[2:], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
print(result.stdout, end="")
if result.returncode != int(sys.argv[1]):
    sys.exit(f"expected status {sys.argv[1]}, got {result.returncode}")
