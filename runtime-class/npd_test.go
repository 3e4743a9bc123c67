package runtimeclass

import (
	"bytes"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/agent/agenttest"
	"github.com/oomwitness/oomwitness/oom"
)

// npdConfig is as much of the node-problem-detector's custom plugin configuration as is
// used.
type npdConfig struct {
	Plugin       string
	PluginConfig struct {
		InvokeInterval  string `json:"invoke_interval"`
		Timeout         string
		MaxOutputLength int `json:"max_output_length"`
		Concurrency     int
		Change          bool `json:"enable_message_change_based_condition_update"`
	}
	Source           string
	MetricsReporting bool
	Conditions       []struct{ Type, Reason, Message string }
	Rules            []struct {
		Type, Condition, Reason, Path, Timeout string
		Args                                   []string
	}
}

func readNPD(t *testing.T) (c npdConfig) {
	t.Helper()
	text, err := os.ReadFile("node-problem-detector/oomwitness.json")
	require.NoError(t, err)
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	require.NoError(t, decoder.Decode(&c))
	return c
}

// TestNodeProblemDetectorConfig: what its validation asks for.
func TestNodeProblemDetectorConfig(t *testing.T) {
	c := readNPD(t)
	require.Equal(t, "custom", c.Plugin)
	conditions := map[string]bool{}
	for _, condition := range c.Conditions {
		conditions[condition.Type] = true
	}
	most, err := time.ParseDuration(c.PluginConfig.Timeout)
	require.NoError(t, err)
	for _, rule := range c.Rules {
		timeout, err := time.ParseDuration(rule.Timeout)
		require.NoError(t, err)
		require.LessOrEqual(t, timeout, most)
		require.Equal(t, rule.Type == "permanent", conditions[rule.Condition])
		require.Equal(t, "/custom-config/oomwitness.sh", rule.Path)
		require.GreaterOrEqual(t, len(rule.Args), 4)
	}
}

// plugin runs the script as the detector does: by its exit status and one short line.
func plugin(t *testing.T, address string, args []string) (status int, line string) {
	t.Helper()
	host, port, err := net.SplitHostPort(address)
	require.NoError(t, err)
	var stdout bytes.Buffer
	cmd := exec.CommandContext(t.Context(), "node-problem-detector/oomwitness.sh", append([]string{host, port}, args...)...)
	cmd.Stdout = &stdout
	err = cmd.Run()
	var exit *exec.ExitError
	if err != nil {
		require.True(t, errors.As(err, &exit), "%v", err)
		status = exit.ExitCode()
	}
	line = stdout.String()
	require.Equal(t, 1, strings.Count(line, "\n"), line)
	require.LessOrEqual(t, len(line), readNPD(t).PluginConfig.MaxOutputLength+1)
	return status, strings.TrimSuffix(line, "\n")
}

func TestNodeProblemDetectorPlugin(t *testing.T) {
	h := &agenttest.History{}
	var health atomic.Pointer[agenttest.Health]
	health.Store(&agenttest.Health{Ready: true, Tier: "A"})
	agent := httptest.NewServer(agenttest.Handler(agenttest.WebConfig{
		Page: true, History: h, Loopback: true, Health: func() agenttest.Health { return *health.Load() },
	}))
	defer agent.Close()
	address := agent.Listener.Addr().String()
	rules := readNPD(t).Rules
	limits, above := rules[0].Args[2:], rules[1].Args[2:]
	ask := func(want int, text string, args []string) {
		t.Helper()
		status, line := plugin(t, address, args)
		require.Equal(t, want, status, line)
		require.Equal(t, text, line)
	}
	ask(0, "no OOM event in 10m", above)
	for i, cause := range []oom.Cause{oom.CauseNode, oom.CauseAncestor, oom.CauseContainer} {
		in := killOf("web-1", cause)
		in.ID, in.Time = string(cause), time.Now().Add(-time.Duration(i)*time.Second)
		h.Take(in)
	}
	old := killOf("web-1", oom.CauseNode)
	old.ID, old.Time = "old", time.Now().Add(-time.Hour)
	h.Take(old)
	ask(1, "2 OOM events in 10m by the limit of: node ancestor", above)
	ask(1, "1 OOM events in 1m by the limit of: container pod", limits)
	ask(2, "not known: the agent says HTTP/1.0 400 Bad Request", []string{"soon", "node"})
	status, line := plugin(t, address, append([]string{"10m"}, strings.Fields(strings.Repeat("node ", 40))...))
	require.Equal(t, 1, status)
	require.Len(t, line, 80, "what the detector takes")
	health.Store(&agenttest.Health{})
	ask(2, "not known: no ledger on this node", above)
}

// TestNodeProblemDetectorWithoutAgent: nobody there, somebody else, and nobody who answers.
func TestNodeProblemDetectorWithoutAgent(t *testing.T) {
	status, line := plugin(t, freeAddress(t), []string{"1m", "node"})
	require.Equal(t, 2, status)
	require.Contains(t, line, "not known: no agent at 127.0.0.1:")

	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"tier":"A"}` + "\n"))
	}))
	defer other.Close()
	status, line = plugin(t, other.Listener.Addr().String(), []string{"1m", "node"})
	require.Equal(t, 2, status)
	require.Equal(t, "not known: another answer than expected", line)

	silent, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer silent.Close()
	status, line = plugin(t, silent.Addr().String(), []string{"1m", "node"})
	require.Equal(t, 2, status)
	require.Equal(t, "not known: no answer in time", line)
}
