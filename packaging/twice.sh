#!/bin/sh
# Builds the release of HEAD twice, from clones in folders of different names and
# depths, and compares every file; then looks into the first: twice.sh DIR VERSION.
set -eu
dir=$1
version=$2
helm=$(realpath .cache/bin/helm)
rm -rf "$dir"
mkdir -p "$dir"
dir=$(realpath "$dir")
for clone in a b/deeper; do
	git clone -q . "$dir/$clone"
	make -C "$dir/$clone" release VERSION="$version" REPOSITORY=registry.invalid/oomwitness >"$dir/log" 2>&1 || { cat "$dir/log"; exit 1; }
done
first=$dir/a/.cache/release/$version
second=$dir/b/deeper/.cache/release/$version
cmp "$first/SHA256SUMS" "$second/SHA256SUMS"
cmp "$first/provenance.intoto.json" "$second/provenance.intoto.json"
echo "the same bytes twice: $(wc -l <"$first/SHA256SUMS") files"

say() { echo "== $*"; }
cd "$first"
sha256sum --check --quiet SHA256SUMS
say archive
tar -xzf "oomwitness_${version}_linux_amd64.tar.gz" -C "$dir"
"$dir/oomwitness-$version/oomwitness" --version | grep -F "v$version"
"$dir/oomwitness-$version/containerd-shim-oomwitness-v2" -v | grep -F "v$version"
"$dir/oomwitness-$version/kubectl-oomwitness" --version | grep -F "v$version"
say deb
dpkg-deb --field "oomwitness_${version}_linux_amd64.deb" Package Version Architecture
dpkg-deb -x "oomwitness_${version}_linux_amd64.deb" "$dir/deb"
cmp "$dir/deb/usr/bin/oomwitness" "$dir/oomwitness-$version/oomwitness"
say rpm
if command -v rpm >/dev/null; then
	rpm -qp --queryformat '%{NAME} %{VERSION} %{RELEASE} %{ARCH}\n' "oomwitness_${version}_linux_arm64.rpm"
	rpm -K --nosignature "oomwitness_${version}_linux_arm64.rpm"
else
	echo "not looked into: needs rpm (apt-get install rpm)"
fi
say chart
"$helm" template oomwitness "oomwitness-chart_$version.tgz" | grep -m 1 "image: registry.invalid/oomwitness@sha256:"
rm -rf "$dir"
