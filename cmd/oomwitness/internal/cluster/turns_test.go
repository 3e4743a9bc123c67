package cluster_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/cluster"
)

func turns(client *fake.Clientset, node string, most int) *cluster.Turns {
	return &cluster.Turns{
		API: fakeAPI{client}, Namespace: "sys", Name: "turn", Node: node, Most: most, Lasts: 15 * time.Minute,
		Say: func(string, ...any) {},
	}
}

func lease(name string) *coordinationv1.Lease {
	return &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: "sys", Name: name}}
}

// TestOneAtATime: the second node waits until the first gives its turn back.
func TestOneAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset(lease("turn-0"))
		back, err := turns(client, "a", 1).Take(t.Context())
		require.NoError(t, err)
		// A node that failed, and tries again, still has its turn.
		_, err = turns(client, "a", 1).Take(t.Context())
		require.NoError(t, err)

		taken := make(chan error)
		go func() {
			_, err := turns(client, "b", 1).Take(t.Context())
			taken <- err
		}()
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Empty(t, taken)
		require.NoError(t, back(t.Context()))
		require.NoError(t, <-taken)
		require.NoError(t, back(t.Context()), "it holds nothing any more, and takes nothing from b")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err = turns(client, "c", 1).Take(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
}

// TestTurnExpires: a node that is gone for good delays no other node.
func TestTurnExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset(lease("turn-0"), lease("turn-1"))
		for _, node := range []string{"a", "b"} {
			_, err := turns(client, node, 2).Take(t.Context())
			require.NoError(t, err)
		}
		start := time.Now()
		_, err := turns(client, "c", 2).Take(t.Context())
		require.NoError(t, err)
		require.InDelta(t, 15*time.Minute, time.Since(start), float64(10*time.Second))
	})
}

// TestWaitingNodesAskSeldom: a node that waits for an hour asks some 70 times, and thousands of
// nodes may wait at the same time.
func TestWaitingNodesAskSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset(lease("turn-0"))
		first := turns(client, "a", 1)
		first.Lasts = 2 * time.Hour
		_, err := first.Take(t.Context())
		require.NoError(t, err)
		client.ClearActions()
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		_, err = turns(client, "b", 1).Take(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.InDelta(t, 70, len(client.Actions()), 25)
	})
}

func TestNoTurns(t *testing.T) {
	back, err := turns(fake.NewClientset(), "a", 0).Take(t.Context())
	require.NoError(t, err)
	require.NoError(t, back(t.Context()))
	_, err = turns(fake.NewClientset(), "a", 1).Take(t.Context())
	require.ErrorContains(t, err, "lease sys/turn-0: ")
}
