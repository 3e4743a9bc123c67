// The containerd that a node is upgraded from, in the fault suite.
module github.com/oomwitness/oomwitness/integration/containerd/2.3

go 1.26.6

tool github.com/containerd/containerd/v2/cmd/containerd

require github.com/containerd/containerd/v2 v2.3.7
