module github.com/mdlayher/vsock

go 1.26
