//go:build linux

package deadshim

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/containerd/containerd/api/types"
	"github.com/containerd/typeurl/v2"
	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/oom"
	"github.com/oomwitness/oomwitness/shim/internal/delivery"
)

// fakeEvents stands for containerd's end of the wire.
type fakeEvents struct {
	mu    sync.Mutex
	acked []string // topic and container, in the order of ack
	down  bool
	hold  chan struct{} // if not nil, every event waits until it is closed
}

func (f *fakeEvents) Forward(ctx context.Context, env *types.Envelope, _ delivery.Instance) error {
	event, err := typeurl.UnmarshalAny(env.Event)
	if err != nil {
		return err
	}
	f.mu.Lock()
	down, hold := f.down, f.hold
	f.mu.Unlock()
	if down {
		return errors.New("not today")
	}
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.acked = append(f.acked, env.Topic+" "+event.(interface{ GetContainerID() string }).GetContainerID())
	return nil
}

func (f *fakeEvents) Instance() delivery.Instance { return 1 }

func (f *fakeEvents) Close() error { return nil }

// goesDown has containerd take no events, or take events again.
func (f *fakeEvents) goesDown(down bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down = down
}

func (f *fakeEvents) all() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.acked)
}

// fakeSource is evidence that a test sets: for each container the same.
type fakeSource struct {
	mu    sync.Mutex
	ev    oom.Evidence
	err   error
	block chan struct{} // readings hang until it is closed
}

func (f *fakeSource) Name() string { return "fake" }

func (f *fakeSource) Arm(oom.Target) (oom.Probe, error) { return f, nil }

// Resume implements oom.Resumer.
func (f *fakeSource) Resume(checkpoint []byte) (oom.Probe, error) {
	return f, json.Unmarshal(checkpoint, new(string))
}

func (f *fakeSource) Read() (oom.Evidence, error) {
	if f.block != nil {
		<-f.block
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ev, f.err
}

func (f *fakeSource) Close() error { return nil }

func (f *fakeSource) set(ev oom.Evidence) {
	f.mu.Lock()
	defer f.mu.Unlock()
	ev.Source = "fake"
	f.ev = ev
}

func killedNow() oom.Evidence {
	return oom.Evidence{Kills: 1, Last: time.Now(), Cause: oom.CauseContainer}
}

// bootID is that of this machine's boot.
func bootID(t testing.TB) string {
	t.Helper()
	id, err := oom.BootID()
	require.NoError(t, err)
	return id
}
