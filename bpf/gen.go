//go:build !no_loader

package bpf

//go:generate go tool bpf2go -tags !no_loader -cc clang-14 -strip llvm-strip-14 -target amd64,arm64 -cflags "-O2 -g -Wall -Wextra -Werror" ledger kernel/ledger.bpf.c
