//go:build linux

package faults

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	eventsapi "github.com/containerd/containerd/api/events"
	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/typeurl/v2"
	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/integration/cri"
	"github.com/oomwitness/oomwitness/integration/faultkit"
	"github.com/oomwitness/oomwitness/integration/mix"
)

// markTopic is the topic of the test's own events. Events that containerd took before such an
// event stand before it in the stream.
const markTopic = "/oomwitness/mark"

// event is one event of a container's init.
type event struct {
	topic string
	id    string
	life  int // the number of the containerd instance that sent it
}

func (e event) String() string { return fmt.Sprintf("%s@%d", e.topic, e.life) }

// watch keeps containerd's events over its restarts: one stream after the other. It misses the
// events that containerd takes before the next subscription, as every client does.
type watch struct {
	mu      sync.Mutex // guards what follows
	log     []event
	life    int
	changed chan struct{}
}

func newWatch(t *testing.T) *watch {
	w := &watch{changed: make(chan struct{})}
	ctx, cancel := context.WithCancel(namespaces.WithNamespace(context.Background(), cri.Namespace))
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			w.stream(ctx)
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
	require.NoError(t, w.sync(t.Context()))
	return w
}

// stream follows one containerd instance until that ends.
func (w *watch) stream(ctx context.Context) {
	c, err := client.New(cri.Socket, client.WithTimeout(time.Second))
	if err != nil {
		return // containerd is not up, and New has waited for its timeout
	}
	defer c.Close()
	w.mu.Lock()
	w.life++
	w.mu.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	got, errs := c.EventService().Subscribe(ctx, `topic~="^/tasks/(oom|exit)"`, `topic=="`+markTopic+`"`)
	for {
		select {
		case e := <-got:
			w.add(e.Topic, e.Event)
		case <-errs:
			return
		}
	}
}

func (w *watch) add(topic string, body typeurl.Any) {
	e, ok := mix.DecodeEvent(topic, body)
	if !ok {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.log = append(w.log, event{topic: e.Topic, id: e.ID, life: w.life})
	close(w.changed)
	w.changed = make(chan struct{})
}

// sync returns when the watch has every event that containerd took before the call.
func (w *watch) sync(ctx context.Context) error {
	ctx = namespaces.WithNamespace(ctx, cri.Namespace)
	mark := fmt.Sprint(time.Now().UnixNano())
	return faultkit.Until(ctx, "the mark among the events", func() error {
		c, err := client.New(cri.Socket, client.WithTimeout(time.Second))
		if err != nil {
			return err
		}
		defer c.Close()
		if err := c.EventService().Publish(ctx, markTopic, &eventsapi.ContainerUpdate{ID: mark}); err != nil {
			return err
		}
		if !w.has(ctx, time.Second, func(all []event) bool {
			return slices.ContainsFunc(all, func(e event) bool { return e.id == mark })
		}) {
			return fmt.Errorf("mark %s has not come back", mark)
		}
		return nil
	})
}

// has waits until the events are as wanted, for at most patience.
func (w *watch) has(ctx context.Context, patience time.Duration, want func([]event) bool) bool {
	late := time.NewTimer(patience)
	defer late.Stop()
	for {
		w.mu.Lock()
		all, changed := slices.Clone(w.log), w.changed
		w.mu.Unlock()
		if want(all) {
			return true
		}
		select {
		case <-changed:
		case <-late.C:
			return false
		case <-ctx.Done():
			return false
		}
	}
}

// of returns the events of one container.
func (w *watch) of(id string) (mine []event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.log {
		if e.id == id {
			mine = append(mine, e)
		}
	}
	return mine
}
