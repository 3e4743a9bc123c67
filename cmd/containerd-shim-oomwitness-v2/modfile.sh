#!/bin/sh
# Writes the go.mod with which the shim is built, and its go.sum beside, to the file named:
# this module's own, with modules of this folder in the place of others. Those in declared/
# have declarations of what containerd's packages need to compile, and what no shim runs. log
# and streams decorate a release of the module that they replace: they import the release as
# upstream.invalid.
set -eu
here=$(dirname "$0")
mod=$1
sum=${mod%.mod}.sum
cp "$here/../../go.mod" "$mod"
cp "$here/../../go.sum" "$sum"

# replace MODULE FOLDER
replace() { go mod edit -replace "$1=./cmd/containerd-shim-oomwitness-v2/$2" "$mod"; }

# decorate MODULE FOLDER RELEASE
decorate() {
  replace "$1" "$2"
  release=upstream.invalid/${1##*/}
  go mod edit -require "$release@$3" -replace "$release=$1@$3" "$mod"
}

replace github.com/cilium/ebpf declared/ebpf
replace github.com/coreos/go-systemd/v22 declared/systemd
replace github.com/godbus/dbus/v5 declared/dbus
replace github.com/mdlayher/vsock declared/vsock
replace github.com/opencontainers/go-digest declared/digest
decorate github.com/containerd/fifo streams "$(awk '$1 == "github.com/containerd/fifo" { print $2 }' "$mod")"
decorate github.com/containerd/log log v0.1.0
cat >> "$sum" <<'SUM'
github.com/containerd/log v0.1.0 h1:TCJt7ioM2cr/tfR8GPbGf9/VRAX8D2B4PjzCpfX540I=
github.com/containerd/log v0.1.0/go.mod h1:VRRf09a7mHDIRezVKTRCrOq78v577GXq3bSa3EhrzVo=
SUM
