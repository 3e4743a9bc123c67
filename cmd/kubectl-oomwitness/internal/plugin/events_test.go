package plugin

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/watch"
)

// TestInterruptedWatch: Ctrl-C ends the watch and the context, and is no error, whichever end the
// command sees first. A watch that the API server ends is one.
func TestInterruptedWatch(t *testing.T) {
	ended := watch.NewFake()
	ended.Stop()
	ctx, cancel := context.WithCancel(t.Context())
	require.ErrorContains(t, new(eventsCommand).follow(ctx, ended), "the API server has ended the watch")
	cancel()
	for range 100 { // select takes any of two that are ready
		require.NoError(t, new(eventsCommand).follow(ctx, ended))
	}
}
