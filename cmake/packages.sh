#!/bin/sh
# Prints the packages of the named sections of packages.txt (every section without a name), one a line.
set -eu
awk -v wanted=" $* " '
  { sub(/#.*/, ""); gsub(/[ \t]+$/, "") }
  /^\[.*\]$/ { section = substr($0, 2, length($0) - 2); next }
  NF && (wanted ~ /^ *$/ || index(wanted, " " section " ")) { print $1 }
' "$(dirname "$0")/packages.txt"
