#!/bin/sh
echo "this program is broken: $1" >&2
exit 3
