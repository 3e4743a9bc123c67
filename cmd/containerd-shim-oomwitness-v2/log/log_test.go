package log

import (
	"bytes"
	"context"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestSetLevel sets levels as containerd does, by name and by value.
func TestSetLevel(t *testing.T) {
	before := GetLevel()
	t.Cleanup(func() { require.NoError(t, SetLevel(before)) })
	for _, level := range []Level{TraceLevel, DebugLevel, InfoLevel, WarnLevel, ErrorLevel, FatalLevel, PanicLevel} {
		require.NoError(t, SetLevel(level))
		require.Equal(t, level, GetLevel())
		require.NoError(t, SetLevel("info"))
		require.Equal(t, InfoLevel, GetLevel())
		require.NoError(t, SetLevel(level.String()))
		require.Equal(t, level, GetLevel())
	}
	require.Error(t, SetLevel("loud"))
}

// TestContext: a context's logger is that of G and of GetLogger, and without one it is L.
func TestContext(t *testing.T) {
	var out bytes.Buffer
	before := L.Logger.Out
	L.Logger.SetOutput(&out)
	t.Cleanup(func() { L.Logger.SetOutput(before) })
	ctx := WithLogger(context.Background(), L.WithField("container", "c1"))
	for _, logger := range []*Entry{G(ctx), GetLogger(ctx)} {
		out.Reset()
		logger.Info("text")
		require.Contains(t, out.String(), "container=c1")
	}
	require.Same(t, L.Logger, G(context.Background()).Logger)
}
