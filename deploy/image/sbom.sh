#!/bin/sh
# sbom.sh [PACKAGE...]: a CycloneDX bill of materials of installed Debian packages, by default of every package of
# cmake/packages.txt, on standard output. The image has its own in /usr/share/modelpress/sbom.cdx.json.
set -eu
folder=$(dirname "$0")
if [ $# -eq 0 ]; then
  # shellcheck disable=SC2046
  set -- $(sh "$folder/../../cmake/packages.sh")
fi
distribution=$(. /etc/os-release && printf '%s-%s' "$ID" "${VERSION_ID:-unstable}")
# shellcheck disable=SC2016
dpkg-query --show --showformat '${Package}\t${Version}\t${Architecture}\t${Homepage}\n' "$@" | sort -u |
  awk -F '\t' -v distribution="$distribution" '
    function encode(text) { gsub(/%/, "%25", text); gsub(/:/, "%3A", text); gsub(/\+/, "%2B", text); return text }
    function quote(text) { gsub(/\\/, "\\\\", text); gsub(/"/, "\\\"", text); return "\"" text "\"" }
    BEGIN {
      split(distribution, parts, "-")
      print "{\n  \"bomFormat\": \"CycloneDX\",\n  \"specVersion\": \"1.5\",\n  \"version\": 1,"
      print "  \"metadata\": {\"component\": {\"type\": \"application\", \"name\": \"modelpress\"}},\n  \"components\": ["
    }
    {
      purl = "pkg:deb/" parts[1] "/" $1 "@" encode($2) "?arch=" $3 "&distro=" distribution
      if (NR > 1) print ","
      printf "    {\"type\": \"library\", \"bom-ref\": %s, \"name\": %s, \"version\": %s, \"purl\": %s", \
             quote(purl), quote($1), quote($2), quote(purl)
      if ($4 != "") printf ", \"externalReferences\": [{\"type\": \"website\", \"url\": %s}]", quote($4)
      printf "}"
    }
    END { print "\n  ]\n}" }'
