//go:build linux

package deadshim

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	eventsapi "github.com/containerd/containerd/api/events"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/containerd/v2/core/runtime"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/oomwitness/oomwitness/oom"
	"github.com/oomwitness/oomwitness/shim/internal/delivery"
)

func message(t testing.TB) *types.Envelope {
	t.Helper()
	env, err := delivery.NewEnvelope(inTest, runtime.TaskOOMEventTopic, &eventsapi.TaskOOM{ContainerID: "c"})
	require.NoError(t, err)
	return env
}

// A containerd that is starting waits for the answer, and so the answer does not
// wait for containerd.
func TestADeadShimOfAStartingContainerd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newDeadBundle(t)
		g.events.goesDown(true)
		g.Reachable = func() bool { return false }
		g.source.set(oom.Evidence{Kills: 1, Last: time.Now(), Init: oom.Yes})
		start := time.Now()
		require.Equal(t, 137, g.remove(t).ExitStatus)
		require.Zero(t, time.Since(start))
		require.Len(t, g.left, 1)
		require.Equal(t, 1, g.leftFirst, "containerd may end the process that removes the container")
		event := &eventsapi.TaskOOM{}
		require.NoError(t, proto.Unmarshal(g.left[0].Event.Value, event))
		require.Equal(t, "c", event.ContainerID)
	})
}

// An ack that comes while the container is removed ends the deferred publisher, which has
// stood by from before the removal.
func TestASlowAckOfADeadShimsOOM(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newDeadBundle(t)
		answer := make(chan struct{})
		g.events.hold = answer
		g.source.set(oom.Evidence{Kills: 1, Last: time.Now(), Init: oom.Yes})
		time.AfterFunc(time.Second, func() { close(answer) })
		start := time.Now()
		require.Equal(t, 137, g.remove(t).ExitStatus)
		require.Equal(t, time.Second, time.Since(start))
		require.Equal(t, 1, g.leftFirst)
		require.Empty(t, g.left)
		require.Equal(t, []string{"/tasks/oom c"}, g.events.all())
	})
}

// The deferred publisher publishes when containerd takes it, and again when CRI must be
// listening.
func TestTheDeferredPublisherPublishesTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		events := &fakeEvents{}
		events.goesDown(true)
		ended := make(chan error, 1)
		go func() { ended <- publishTwice(t.Context(), delivery.NewQueue(t.Context(), events, count), message(t)) }()
		time.Sleep(time.Minute)
		require.Empty(t, events.all())
		events.goesDown(false)
		time.Sleep(delivery.LastRetry)
		require.Equal(t, []string{"/tasks/oom c"}, events.all())
		time.Sleep(subscribedAfter)
		require.Equal(t, []string{"/tasks/oom c", "/tasks/oom c"}, events.all())
		synctest.Wait()
		require.NoError(t, <-ended)
	})
}

// It returns up a containerd that never comes back, or never answers.
func TestTheDeferredPublisherGivesUp(t *testing.T) {
	for name, spoil := range map[string]func(*fakeEvents){
		"away":          func(f *fakeEvents) { f.goesDown(true) },
		"never answers": func(f *fakeEvents) { f.hold = make(chan struct{}) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				events := &fakeEvents{}
				spoil(events)
				start := time.Now()
				require.ErrorIs(t, publishTwice(t.Context(), delivery.NewQueue(t.Context(), events, count), message(t)), context.DeadlineExceeded)
				require.Equal(t, deferredTimeout, time.Since(start))
				require.Empty(t, events.all())
			})
		})
	}
}

func FuzzParseDeferred(f *testing.F) {
	whole, err := proto.Marshal(message(f))
	require.NoError(f, err)
	f.Add(whole)
	f.Add(whole[:len(whole)/2])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		env, err := parseDeferred(data)
		if err == nil && (env.Topic != runtime.TaskOOMEventTopic || env.Namespace == "") {
			t.Fatalf("took %v", env)
		}
	})
}
