module github.com/containerd/fifo

go 1.18

require upstream.invalid/fifo v1.1.0
