//go:build linux

package shim

import (
	"bytes"
	"context"
	"io"

	bootapi "github.com/containerd/containerd/api/runtime/bootstrap/v1"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2/manager"
	ptypes "github.com/containerd/containerd/v2/pkg/protobuf/types"
	upstream "github.com/containerd/containerd/v2/pkg/shim"
	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/shim/config"
	"github.com/oomwitness/oomwitness/shim/internal/bootstrap"
)

// Runtime is the runtime type that the shim's binary name stands for.
const Runtime = "io.containerd.oomwitness.v2"

type emptyResponse = ptypes.Empty

func signalOf(n uint32) unix.Signal { return unix.Signal(n) }

// Manager is upstream's shim manager, which starts and removes shims, with our
// configuration checked and the ledger loaded first.
type Manager struct{ upstream.Shim }

// NewManager returns the shim's manager.
func NewManager() Manager { return Manager{manager.NewShimManager(Runtime)} }

// Start refuses to start a shim on a node whose configuration does not hold:
// here the error reaches whoever creates the pod, and nothing has been made yet.
func (m Manager) Start(ctx context.Context, p *bootapi.BootstrapParams) (*bootapi.BootstrapResult, error) {
	if _, err := config.Load(config.Path()); err != nil {
		return nil, err
	}
	if err := bootstrap.TranslateExtensions(p); err != nil {
		return nil, err
	}
	ensureLedger()
	result, err := m.Shim.Start(ctx, p)
	if err == nil && bootstrap.JoinsWithoutCleanup(p.GetContainerdVersion()) {
		result.Version = 2
	}
	return result, err
}

// Info describes the runtime. optionsR is the runtime options as an Any, or empty.
func (m Manager) Info(ctx context.Context, optionsR io.Reader) (*types.RuntimeInfo, error) {
	input, err := bootstrap.ReadInput(optionsR)
	if err != nil {
		return nil, err
	}
	input, err = bootstrap.RuncOptionsOf(input)
	if err != nil {
		return nil, err
	}
	return m.Shim.Info(ctx, bytes.NewReader(input))
}
