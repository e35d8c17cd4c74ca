#!/usr/bin/env bash
# The tables of the README are what the program says.
source "$(dirname "$0")/lib.sh"
sed -n '/^<!-- capabilities:/,/^<!-- end of capabilities -->/p' "$HERE/../../README.md" | sed '1d;$d' >"$WORK/readme.md"
check "the README has the tables" test -s "$WORK/readme.md"
modelpress capabilities --markdown >"$WORK/program.md"
check "README and \`modelpress capabilities --markdown\` agree" diff "$WORK/readme.md" "$WORK/program.md"
finish
