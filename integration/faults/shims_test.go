//go:build linux

package faults

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/ttrpc"
	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/integration/cri"
	"github.com/oomwitness/oomwitness/integration/faultkit"
)

// bound is the time in which a shim must show an exit: the hold timeout, and the time that an
// emulated machine needs to schedule.
const bound = 5*time.Second + 3*time.Second

// askShims asks each container's shim itself for the exit, if the fault checks the hold
// timeout: the fault stops containerd, which would ask otherwise.
func (fl *fleet) askShims(ctx context.Context, t *testing.T, f fault) <-chan struct{} {
	t.Helper()
	done := make(chan struct{})
	if !f.bound {
		close(done)
		return done
	}
	var wg sync.WaitGroup
	for _, m := range fl.members {
		conn, err := dialShim(ctx, m.id)
		require.NoError(t, err)
		wg.Go(func() {
			defer conn.Close()
			client := taskapi.NewTTRPCTaskClient(ttrpc.NewClient(conn))
			resp, err := client.Wait(namespaces.WithNamespace(ctx, cri.Namespace), &taskapi.WaitRequest{ID: m.id})
			// The shim may end before it answers here: it does when containerd has deleted the
			// task.
			if err == nil && resp.ExitedAt.IsValid() {
				m.shown = time.Now()
			}
		})
	}
	go func() { wg.Wait(); close(done) }()
	return done
}

// dialShim connects to the shim of a container. The address is in bootstrap.json, or below
// containerd 2.0 in the file address.
func dialShim(ctx context.Context, id string) (net.Conn, error) {
	var params struct {
		Address string `json:"address"`
	}
	text, err := os.ReadFile(filepath.Join(faultkit.TasksDir, id, "bootstrap.json"))
	if errors.Is(err, os.ErrNotExist) {
		text, err = os.ReadFile(filepath.Join(faultkit.TasksDir, id, "address"))
		params.Address = string(text)
	} else if err == nil {
		err = json.Unmarshal(text, &params)
	}
	if err != nil {
		return nil, fmt.Errorf("address of the shim of %s: %w", id, err)
	}
	return new(net.Dialer).DialContext(ctx, "unix", strings.TrimPrefix(params.Address, "unix://"))
}
