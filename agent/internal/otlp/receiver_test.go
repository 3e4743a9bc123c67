package otlp_test

import (
	"bufio"
	"net"
	"os/exec"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	logs "go.opentelemetry.io/proto/otlp/logs/v1"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/oomwitness/oomwitness/agent/internal/deliver"
	"github.com/oomwitness/oomwitness/agent/internal/otlp"
)

// TestReceiver: the receiver of the real OpenTelemetry collector takes the records, also
// those that came before it listened.
func TestReceiver(t *testing.T) {
	path, err := exec.LookPath("../../../.cache/bin/otlp")
	if err != nil {
		t.Skip("needs the collector's receiver in .cache/bin/otlp: make otlp builds it")
	}
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := listener.Addr().String()
	require.NoError(t, listener.Close())

	e, c, log := start(t, "http://"+address)
	in := kill()
	in.Victims[0].Comm = "a\xff\u202eb"
	e.Take(in)
	require.Contains(t, log.next(t), "does not take records")

	cmd := exec.CommandContext(t.Context(), path, address)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Wait() }) // SIGTERM has ended it
	lines := bufio.NewScanner(out)
	require.True(t, lines.Scan())
	require.Equal(t, "listens", lines.Text())
	require.True(t, lines.Scan())
	var data logs.LogsData
	require.NoError(t, (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(lines.Bytes(), &data), "%s", lines.Bytes())
	t.Logf("%s", lines.Text())
	record := data.ResourceLogs[0].ScopeLogs[0].LogRecords[0]
	require.Equal(t, otlp.KillName, record.EventName)
	require.Equal(t, `a\xff\u202eb`, flat(record.Attributes)["process.command"])
	require.Equal(t, "uid-1", flat(record.Attributes)["k8s.pod.uid"])
	c.await(t, deliver.None, 1)
}
