#!/usr/bin/env bash
# Builds the kubectl plugin for each platform into DIR, an archive for each, and prints the
# manifest for krew: manifest.sh VERSION DIR > oomwitness.yaml
# PLATFORMS="linux/amd64 ..." for others. The archives are the same each time.
set -euo pipefail
if [ $# -ne 2 ] || ! [[ $1 =~ ^[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?$ ]]; then
	echo "manifest.sh ${*@Q}: allowed are a version such as 1.2.3 and a folder" >&2
	exit 2
fi
version=$1 dir=$2 here=$(cd "$(dirname "$0")" && pwd)
platforms=${PLATFORMS:-linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64}
mkdir -p "$dir"
sed "s/@VERSION@/$version/" "$here/oomwitness.yaml"
for platform in $platforms; do
	os=${platform%/*} arch=${platform#*/} program=kubectl-oomwitness
	[ "$os" != windows ] || program+=.exe
	work=$(mktemp -d)
	(cd "$here/../.." && CGO_ENABLED=0 GOOS=$os GOARCH=$arch ${GO:-go} build -trimpath -buildvcs=false -ldflags "-s -w -X main.version=v$version" \
		-o "$work/$program" ./cmd/kubectl-oomwitness)
	cp "$here/../../LICENSE" "$work/"
	archive=kubectl-oomwitness_${version}_${os}_$arch.tar.gz
	tar --create --directory "$work" --sort=name --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX --mtime="@${SOURCE_DATE_EPOCH:-0}" \
		LICENSE "$program" | gzip --no-name > "$dir/$archive"
	rm -r "$work"
	sum=$(sha256sum "$dir/$archive" | cut -d ' ' -f 1)
	cat <<-END
	    - selector: {matchLabels: {os: $os, arch: $arch}}
	      uri: https://github.com/oomwitness/oomwitness/releases/download/v$version/$archive
	      sha256: $sum
	      bin: $program
	END
done
