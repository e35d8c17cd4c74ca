#!/usr/bin/env bash
# The report as a browser shows it: drawn, without an error, without asking anybody for anything.
source "$(dirname "$0")/lib.sh"

expect_code 0 "a job with a page" modelpress compress "$MODEL" -o "$WORK/out.onnx" --data "$DATA" --pass quantize_weights:weights.min_elements=64 \
  --report "$WORK/report.html"
expect_code 0 "a job with ranges" modelpress compress "$MODEL" -o "$WORK/static.onnx" --data "$DATA" --pass quantize_static \
  --report "$WORK/ranges.html"
# --no-sandbox: there is none to be had as root; the page has no script.
browse() {
  chromium --headless --no-sandbox --disable-gpu --disable-dev-shm-usage --user-data-dir="$WORK/profile" \
    --window-size=1000,2400 --hide-scrollbars --virtual-time-budget=2000 "$@" "file://$WORK/${PAGE:-report.html}"
}
check "it opens" timeout 120 bash -c "$(declare -f browse); WORK=$WORK; browse --screenshot=$WORK/page.png \
  --log-net-log=$WORK/net.json >$WORK/browser.log 2>&1"
check "it is drawn" python3 - "$WORK/page.png" <<'P'
# Rows of the picture, unfiltered: a blank page has one colour.
import struct, sys, zlib
data = open(sys.argv[1], "rb").read()
assert data[:8] == b"\x89PNG\r\n\x1a\n"
width, height = struct.unpack(">II", data[16:24])
channels = {2: 3, 6: 4}[data[25]]
place, packed = 8, b""
while place < len(data):
    length, kind = struct.unpack(">I4s", data[place:place + 8])
    if kind == b"IDAT":
        packed += data[place + 8:place + 8 + length]
    place += 12 + length
raw, stride = zlib.decompress(packed), width * channels
assert (width, height) == (1000, 2400)
# A row that differs from the one above has a byte that is not 0 under the filter "up"; filters are per row, so count rows
# that are not constant under any of them.
busy = sum(len(set(raw[y * (stride + 1) + 1:(y + 1) * (stride + 1)])) > 4 for y in range(height))
assert busy > 400, busy
P
check "nothing is fetched" python3 - "$WORK/net.json" <<'P'
import re, sys
# Browsers phone home on their own; nothing of that may be asked for by the page.
text = open(sys.argv[1], errors="replace").read()
asked = set(re.findall(r'"initiator":"file://[^"]*"', text))
assert not asked, asked
P
browse --dump-dom >"$WORK/dom.html" 2>>"$WORK/browser.log"
for part in "What modelpress did" "Size by layer" "Error by layer" "Latency"; do
  check "the page has: $part" grep -q "$part" "$WORK/dom.html"
done
PAGE=ranges.html browse --dump-dom >"$WORK/dom.html" 2>>"$WORK/browser.log"
for part in "Size by layer" "chosen ranges"; do
  check "the other page has: $part" grep -q "$part" "$WORK/dom.html"
done
check "they are drawn" grep -q '<rect class="in"' "$WORK/dom.html"
finish
