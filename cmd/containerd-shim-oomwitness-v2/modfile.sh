#!/bin/sh
# Writes the go.mod with which the shim is built, and its go.sum beside, to the file named:
# this module's own, but with noebpf in the place of github.com/cilium/ebpf.
set -eu
here=$(dirname "$0")
cp "$here/../../go.mod" "$1"
cp "$here/../../go.sum" "${1%.mod}.sum"
go mod edit -replace github.com/cilium/ebpf=./cmd/containerd-shim-oomwitness-v2/noebpf "$1"
