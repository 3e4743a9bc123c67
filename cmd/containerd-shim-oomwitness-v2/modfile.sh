#!/bin/sh
# Writes the go.mod with which the shim is built, and its go.sum beside, to the file named:
# this module's own, but with noebpf in the place of github.com/cilium/ebpf, and with
# streams in the place of github.com/containerd/fifo, which streams imports by another name.
set -eu
here=$(dirname "$0")
cp "$here/../../go.mod" "$1"
cp "$here/../../go.sum" "${1%.mod}.sum"
fifo=$(awk '$1 == "github.com/containerd/fifo" { print $2 }' "$1")
own=./cmd/containerd-shim-oomwitness-v2
go mod edit -replace "github.com/cilium/ebpf=$own/noebpf" -replace "github.com/containerd/fifo=$own/streams" \
  -require "upstream.invalid/fifo@$fifo" -replace "upstream.invalid/fifo=github.com/containerd/fifo@$fifo" "$1"
