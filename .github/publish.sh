#!/bin/sh
# Signs a release that "make release" made, and pushes image and chart: publish.sh FOLDER
# VERSION. The commands are those of docs/release.md.
set -eu
version=$2
cd "$1"
sha256sum --check --quiet SHA256SUMS
for file in SHA256SUMS provenance.intoto.json; do
	cosign sign-blob --yes --bundle "$file.sigstore.json" "$file"
done
[ -n "$REPOSITORY" ] || { echo "RELEASE_REPOSITORY is not set: image and chart are not pushed" >&2; exit 0; }
host=${REPOSITORY%%/*}
echo "$PASSWORD" | skopeo login --username "$USERNAME" --password-stdin "$host"
echo "$PASSWORD" | cosign login --username "$USERNAME" --password-stdin "$host"
chart=$REPOSITORY-chart
predicate=$(mktemp)
jq .predicate provenance.intoto.json >"$predicate"
skopeo copy --all --preserve-digests "oci-archive:oomwitness-image_$version.oci.tar" "docker://$REPOSITORY:$version"
skopeo copy --preserve-digests "oci-archive:oomwitness-chart_$version.oci.tar" "docker://$chart:$version"
for name in "$REPOSITORY" "$chart"; do
	digest=$(skopeo inspect --format '{{.Digest}}' "docker://$name:$version")
	cosign sign --yes "$name@$digest"
	cosign attest --yes --type slsaprovenance1 --predicate "$predicate" "$name@$digest"
done
