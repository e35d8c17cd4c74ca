#!/bin/sh
# collect.sh OUT PROGRAM...: lays out in OUT/root the file system of an image that can run the programs and no more:
# the programs without debug symbols, the libraries they load (found by the loader itself, so there is no second list to
# keep), certificates, a user. The packages that the libraries come from are recorded where image scanners look for them
# (var/lib/dpkg/status.d), with their licences, and as a bill of materials.
set -eu
out=$1
shift
root=$out/root
mkdir -p "$root/usr/bin" "$root/usr/lib" "$root/usr/lib64" "$root/etc/ssl/certs" "$root/tmp" "$root/var/lib/dpkg/status.d" "$out/scratch"
chmod 1777 "$root/tmp"
chmod 700 "$out/scratch"
for folder in bin lib lib64; do ln -s "usr/$folder" "$root/$folder"; done

packages=$out/packages
: >"$packages"
for program; do
  strip -o "$root/usr/bin/$(basename "$program")" "$program"
  if ldd "$program" | grep 'not found' >&2; then exit 1; fi
  # "libz.so.1 => /lib/x86_64-linux-gnu/libz.so.1 (0x...)" and "/lib64/ld-linux-x86-64.so.2 (0x...)"
  ldd "$program" | awk '$2 == "=>" && $3 ~ /^\// { print $3 } $1 ~ /^\// { print $1 }'
done | sort -u | while read -r library; do
  mkdir -p "$root$(dirname "$library")"
  cp -L "$library" "$root$library"
  { dpkg -S "$(readlink -f "$library")" || dpkg -S "$library"; } 2>/dev/null | sed 's/: .*//' | head -n 1 >>"$packages"
done

cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
printf 'ca-certificates\n' >>"$packages"
printf 'root:x:0:0:root:/:/nonexistent\nmodelpress:x:65532:65532:modelpress:/tmp:/nonexistent\n' >"$root/etc/passwd"
printf 'root:x:0:\nmodelpress:x:65532:\n' >"$root/etc/group"
printf 'hosts: files dns\n' >"$root/etc/nsswitch.conf"

sort -u "$packages" -o "$packages"
while read -r package; do
  name=${package%:*}
  dpkg-query --status "$package" >"$root/var/lib/dpkg/status.d/$name"
  if [ -e "/usr/share/doc/$name/copyright" ]; then
    mkdir -p "$root/usr/share/doc/$name"
    cp -L "/usr/share/doc/$name/copyright" "$root/usr/share/doc/$name/"
  fi
done <"$packages"
mkdir -p "$root/usr/share/modelpress"
xargs sh "$(dirname "$0")/sbom.sh" <"$packages" >"$root/usr/share/modelpress/sbom.cdx.json"
