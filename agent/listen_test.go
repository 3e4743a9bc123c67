package agent

import (
	"context"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/sirupsen/logrus/hooks/test"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestPortOfAnother: a port that another process has, which any user of the node may be, does
// not keep the agent from its work. The other listener names it, and the agent takes the port
// when it is free.
func TestPortOfAnother(t *testing.T) {
	var c net.ListenConfig
	other, err := c.Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	free, err := c.Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, free.Close())
	log, lines := test.NewNullLogger()
	dir := t.TempDir()
	a, err := New(Options{
		Dir: dir + "/none", LockDir: dir + "/locks", StateDir: dir + "/state", Log: log, SeriesTTL: time.Hour, MaxSeries: 1,
		MetricsAddress: other.Addr().String(), HealthAddress: free.Addr().String(),
	})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	get := func(address net.Addr, path string) string {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address.String()+path, nil)
		require.NoError(t, err)
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			return err.Error()
		}
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		require.NoError(t, err)
		return string(body)
	}
	has := func(address net.Addr, path, text string) {
		t.Helper()
		require.EventuallyWithT(t, func(t *assert.CollectT) { assert.Contains(t, get(address, path), text) }, 2*listenAgain, 10*time.Millisecond)
	}
	has(free.Addr(), "/readyz", "without listener: metrics: listen tcp "+other.Addr().String()+": bind: address already in use")
	require.NoError(t, other.Close())
	has(other.Addr(), "/metrics", "oomwitness_build_info")
	require.NotContains(t, get(free.Addr(), "/readyz"), "listener")
	cancel()
	require.ErrorIs(t, <-ended, context.Canceled)
	n := 0
	for _, line := range lines.AllEntries() {
		if line.Message == "the agent runs without its listener of metrics, and tries again" {
			n++
		}
	}
	require.Equal(t, 1, n)
}
