//go:build linux

package shim

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"

	bootapi "github.com/containerd/containerd/api/runtime/bootstrap/v1"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2/manager"
	ptypes "github.com/containerd/containerd/v2/pkg/protobuf/types"
	upstream "github.com/containerd/containerd/v2/pkg/shim"

	"github.com/oomwitness/oomwitness/oom"
	"github.com/oomwitness/oomwitness/oom/exits"
	"github.com/oomwitness/oomwitness/shim/config"
	"github.com/oomwitness/oomwitness/shim/internal/bootstrap"
	"github.com/oomwitness/oomwitness/shim/internal/deadshim"
	"github.com/oomwitness/oomwitness/shim/internal/delivery"
)

// ttrpcAddressEnv names the environment variable in which containerd gives a
// shim the address of its events endpoint.
const ttrpcAddressEnv = "TTRPC_ADDRESS"

// Runtime is the runtime type that the shim's binary name stands for.
const Runtime = "io.containerd.oomwitness.v2"

type emptyResponse = ptypes.Empty

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
	ensureLedger(ctx)
	result, err := m.Shim.Start(ctx, p)
	if err == nil && bootstrap.JoinsWithoutCleanup(p.GetContainerdVersion()) {
		result.Version = 2
	}
	return result, err
}

// Stop removes what a dead shim has left of a container. containerd calls Stop after each
// Delete too, and waits for its end before it removes the bundle.
func (m Manager) Stop(ctx context.Context, id string) (upstream.StopStatus, error) {
	cwd, err := os.Getwd()
	if err != nil {
		return upstream.StopStatus{}, err
	}
	cfg, _ := config.Load(config.Path()) // defaults, where it does not hold
	address := os.Getenv(ttrpcAddressEnv)
	r := deadshim.Removal{
		ID: id, Bundle: filepath.Join(filepath.Dir(cwd), id), Config: cfg,
		Sources: func() []oom.Source { return Sources(ctx) }, Client: delivery.NewClient(address),
		Count:     new(counters).add,
		Spool:     exits.DefaultDir,
		Reachable: func() bool { return delivery.Reachable(ctx, address) },
		Defer:     deadshim.StartPublisher,
	}
	return r.Run(ctx, m.Shim.Stop)
}

// IsDeferredPublisher reports whether the command line is that of a deferred publisher.
func IsDeferredPublisher(args []string) bool { return deadshim.IsPublisher(args) }

// RunDeferredPublisher is the whole work of a deferred publisher.
func RunDeferredPublisher(ctx context.Context) error {
	return deadshim.RunPublisher(ctx, delivery.NewClient(os.Getenv(ttrpcAddressEnv)), new(counters).add)
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
