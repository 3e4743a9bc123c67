#!/bin/sh
# Builds the release of HEAD twice, from clones in folders of different names and depths, the
# second with another umask, time zone, language and home, and compares every file; then looks
# into the first: twice.sh DIR VERSION. The second one is signed with a key that is made here,
# by fake/cosign.
set -eu
dir=$1
version=$2
helm=$(realpath .cache/bin/helm)
rm -rf "$dir"
mkdir -p "$dir"
dir=$(realpath "$dir")
fake=$(realpath packaging/fake)
openssl ecparam -name prime256v1 -genkey -noout -out "$dir/cosign.key"
openssl ec -in "$dir/cosign.key" -pubout -out "$dir/cosign.pub" 2>"$dir/log"
release() { # clone [variable of make]...
	git clone -q . "$dir/$1"
	PATH=$fake:$PATH make -C "$dir/$1" release VERSION="$version" REPOSITORY=registry.invalid/oomwitness ${2:+"$2"} >"$dir/log" 2>&1 ||
		{ cat "$dir/log"; exit 1; }
}
release a
GOMODCACHE=$(go env GOMODCACHE) GOCACHE=$(go env GOCACHE)
export GOMODCACHE GOCACHE
(
	umask 077
	mkdir "$dir/home"
	export TZ=Asia/Kathmandu LC_ALL=C.UTF-8 HOME="$dir/home" USER=somebody
	release b/deeper COSIGN_KEY="$dir/cosign.key"
)
first=$dir/a/.cache/release/$version
second=$dir/b/deeper/.cache/release/$version
cmp "$first/SHA256SUMS" "$second/SHA256SUMS"
cmp "$first/provenance.intoto.json" "$second/provenance.intoto.json"
echo "the same bytes twice: $(wc -l <"$first/SHA256SUMS") files"

say() { echo "== $*"; }
cd "$first"
sha256sum --check --quiet SHA256SUMS
say signatures
ls "$first"/*.sigstore.json 2>/dev/null && { echo "signed without a key" >&2; exit 1; }
verify() { # file with the bytes that were signed, bundle
	jq -r .base64Signature "$2" | base64 -d >"$dir/signature"
	openssl dgst -sha256 -verify "$dir/cosign.pub" -signature "$dir/signature" "$1"
}
for file in SHA256SUMS provenance.intoto.json; do
	verify "$second/$file" "$second/$file.sigstore.json"
done
verify "$second/SHA256SUMS" "$second/provenance.intoto.json.sigstore.json" && { echo "the signature of another file is good" >&2; exit 1; }
say archive
tar -xzf "oomwitness_${version}_linux_amd64.tar.gz" -C "$dir"
"$dir/oomwitness-$version/oomwitness" --version | grep -F "v$version"
"$dir/oomwitness-$version/containerd-shim-oomwitness-v2" -v | grep -F "v$version"
"$dir/oomwitness-$version/kubectl-oomwitness" --version | grep -F "v$version"
say kubectl plugin
tar -xzf "kubectl-oomwitness_${version}_linux_amd64.tar.gz" -C "$dir"
"$dir/kubectl-oomwitness" --version | grep -F "v$version"
for archive in kubectl-oomwitness_*.tar.gz; do
	grep -F -A 1 "/v$version/$archive" kubectl-oomwitness.yaml | grep -F "$(sha256sum "$archive" | cut -d ' ' -f 1)"
done
say deb
dpkg-deb --field "oomwitness_${version}_linux_amd64.deb" Package Version Architecture
dpkg-deb -x "oomwitness_${version}_linux_amd64.deb" "$dir/deb"
cmp "$dir/deb/usr/bin/oomwitness" "$dir/oomwitness-$version/oomwitness"
# An older version is installed, this one in its place, and then none: nothing is left.
packages() { dpkg --root="$dir/node" --force-not-root --log=/dev/null "$@" >"$dir/log" 2>&1 || { cat "$dir/log"; exit 1; }; }
mkdir -p "$dir/node/var/lib/dpkg/info" "$dir/node/var/lib/dpkg/updates"
touch "$dir/node/var/lib/dpkg/status"
dpkg-deb -R "oomwitness_${version}_linux_amd64.deb" "$dir/older"
sed -i 's/^Version:.*/Version: 0.0.1/' "$dir/older/DEBIAN/control"
rm "$dir/older/DEBIAN/conffiles" "$dir/older/usr/bin/kubectl-oomwitness" # nfpm's list of none has an empty line
touch "$dir/older/usr/bin/gone"
dpkg-deb --root-owner-group -b "$dir/older" "$dir/older.deb" >"$dir/log"
packages --install "$dir/older.deb"
packages --install "oomwitness_${version}_linux_amd64.deb"
"$dir/node/usr/bin/kubectl-oomwitness" --version | grep -F "v$version"
[ ! -e "$dir/node/usr/bin/gone" ]
packages --remove oomwitness
packages --purge oomwitness
left=$(find "$dir/node" -path "$dir/node/var/lib/dpkg" -prune -o ! -type d -print)
[ -z "$left" ] || { echo "left by the package: $left" >&2; exit 1; }
echo "installed, upgraded, removed"
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
