module github.com/containerd/log

go 1.18

require upstream.invalid/log v0.1.0
