//go:build linux

package shim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/containerd/containerd/v2/pkg/namespaces"
	upstream "github.com/containerd/containerd/v2/pkg/shim"
	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/shim/internal/bootstrap"
	"github.com/oomwitness/oomwitness/shim/internal/deadshim"
)

// Run carries out a call of the shim's program, by upstream's library, and the
// start call of containerd 1.6 to 2.2 by itself: upstream's library refuses that
// call (pkg/shim/compat.go). What the flags of a call mean otherwise is upstream's
// business, unknown flags included.
func Run(ctx context.Context, m Manager) error {
	call := bootstrap.ParseCall(os.Args[1:])
	if !call.Starts() {
		upstream.RunShim(ctx, m, func(c *upstream.Config) { c.NoReaper = call.Serves() })
		return nil
	}
	input, err := bootstrap.ReadInput(os.Stdin)
	if err != nil {
		return err
	}
	if !call.Current(input) {
		return startOld(ctx, m, call, input)
	}
	if os.Stdin, err = again(input); err != nil {
		return err
	}
	upstream.RunShim(ctx, m)
	return nil
}

// startOld carries out a start call of containerd 1.6 to 2.2. The answer is the
// plain address, which all of them take for a shim of version 2:
//
//   - 1.6 knows no other answer;
//   - to a shim of version 3, containerd 2.0 to 2.2 connect the further containers
//     of a pod without a function that cleans up: where such a shim dies, nothing
//     kills init (core/runtime/v2/shim_manager.go, Start).
//
// 1.6 and 1.7 find the shim after a restart by the bundle's address file.
func startOld(ctx context.Context, m Manager, call bootstrap.Call, input []byte) error {
	params, err := call.Params(input, os.Getenv(ttrpcAddressEnv))
	if err != nil {
		return err
	}
	result, err := m.Start(namespaces.WithNamespace(ctx, call.Namespace), params)
	if err != nil {
		return err
	}
	if err := answerOld(result.GetAddress()); err != nil {
		return errors.Join(err, deadshim.ShutDown(result.GetAddress())) // else the shim would run on, unknown to containerd
	}
	return nil
}

// answerOld writes a shim's address to the bundle and to the standard output, for containerd.
func answerOld(address string) error {
	bundle, err := os.Getwd() // which containerd sets
	if err != nil {
		return err
	}
	if err := bootstrap.WriteAddress(bundle, address); err != nil {
		return fmt.Errorf("write the shim's address: %w", err)
	}
	_, err = os.Stdout.WriteString(address)
	return err
}

// again returns a file from which input can be read once more.
func again(input []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate("stdin", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("memfd_create: %w", err)
	}
	f := os.NewFile(uintptr(fd), "stdin")
	if _, err := f.Write(input); err != nil {
		return nil, err
	}
	_, err = f.Seek(0, io.SeekStart)
	return f, err
}
