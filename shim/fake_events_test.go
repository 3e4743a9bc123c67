//go:build linux

package shim

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/containerd/containerd/api/types"
	"github.com/containerd/containerd/v2/core/runtime"
	"github.com/containerd/ttrpc"
	"github.com/containerd/typeurl/v2"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/oomwitness/oomwitness/shim/internal/delivery"
)

// fakeEvents stands for containerd's end of the wire.
type fakeEvents struct {
	mu    sync.Mutex
	acked []string // topic and container, in the order of ack
	// statuses and times are those of the TaskExits and TaskDeletes.
	statuses []uint32
	times    []time.Time
	fail     int // errors to give first
	down     bool
	instance delivery.Instance // one less than the number
	hold     func(topic, id string) <-chan struct{}
}

func (f *fakeEvents) Forward(ctx context.Context, env *types.Envelope, to delivery.Instance) error {
	event, err := typeurl.UnmarshalAny(env.Event)
	if err != nil {
		return err
	}
	id := event.(interface{ GetContainerID() string }).GetContainerID()
	f.mu.Lock()
	failing := f.fail > 0 || f.down
	f.fail -= min(f.fail, 1)
	hold, instance := f.hold, f.instance
	f.mu.Unlock()
	if failing {
		return errors.New("not today")
	}
	if to != delivery.AnyInstance && to != instance+1 {
		return delivery.ErrOtherInstance
	}
	if hold != nil {
		if c := hold(env.Topic, id); c != nil {
			select {
			case <-c:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.instance != instance {
		return ttrpc.ErrClosed
	}
	f.acked = append(f.acked, env.Topic+" "+id)
	if e, ok := event.(interface{ GetExitStatus() uint32 }); ok {
		f.statuses = append(f.statuses, e.GetExitStatus())
	}
	if e, ok := event.(interface{ GetExitedAt() *timestamppb.Timestamp }); ok {
		f.times = append(f.times, e.GetExitedAt().AsTime())
	}
	return nil
}

func (f *fakeEvents) Instance() delivery.Instance {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.instance + 1
}

// stop has containerd take no more events, as it does first when it is stopped in
// good order.
func (f *fakeEvents) stop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down = true
}

// die ends containerd: nothing is acked until it is back.
func (f *fakeEvents) die() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down = true
	f.instance++
}

// back has another containerd ack events; what was acked before is lost.
func (f *fakeEvents) back() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down, f.acked = false, nil
}

// holdOOM has every TaskOOM wait until the channel is closed.
func (f *fakeEvents) holdOOM() chan struct{} {
	answer := make(chan struct{})
	f.hold = func(topic, _ string) <-chan struct{} {
		if topic == runtime.TaskOOMEventTopic {
			return answer
		}
		return nil
	}
	return answer
}

func (f *fakeEvents) Close() error { return nil }

func (f *fakeEvents) all() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.acked)
}
