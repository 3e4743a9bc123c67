package runtimeclass

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/agent/agenttest"
	"github.com/oomwitness/oomwitness/oom"
)

func killOf(pod string, cause oom.Cause) agenttest.OOMEvent {
	return agenttest.OOMEvent{Cause: cause, Time: time.Now(), Victims: []agenttest.Victim{{
		Pod: &agenttest.Pod{Namespace: "shop", Name: pod}, Container: &agenttest.Container{Name: "app"},
	}}}
}

// TestPrometheus: a real Prometheus scrapes the agent's handler, and its rules fire
// for kills that happen then, and for a container whose series had ended.
func TestPrometheus(t *testing.T) {
	if _, err := exec.LookPath("prometheus"); err != nil {
		t.Skip("needs Prometheus: apt-get install prometheus")
	}
	m := anAgent()
	agent := httptest.NewServer(agenttest.Handler(agenttest.WebConfig{Metrics: m.Handler(io.Discard), Loopback: true}))
	defer agent.Close()
	p := startPrometheus(t, strings.TrimPrefix(agent.URL, "http://"))
	p.wait(t, `ALERTS{alertname="ContainerOOMKilled",alertstate="firing"}`, `"pod":"web-6d9c7b5f48-x2x7p"`)
	p.wait(t, `oomwitness_build_info`, `"version":"v1"`)
	for range 2 {
		m.Take(killOf("web-6d9c7b5f48-x2x7p", oom.CauseContainer))
	}
	m.Take(killOf("db-0", oom.CauseNode))
	p.wait(t, `ALERTS{alertname="WorkloadOOMKilledRepeatedly",alertstate="firing"}`, `"workload":"web"`)
	p.wait(t, `ALERTS{alertname="NodeOutOfMemory",alertstate="firing"}`, `"cause":"node"`)
	p.wait(t, `sum(oomwitness_oom_kills_total) == sum(oomwitness_oom_victims_total)`, `,"4"]`)
}

// prometheus is one that runs.
type prometheus struct {
	url  string
	gone <-chan struct{}
}

func startPrometheus(t *testing.T, target string) prometheus {
	t.Helper()
	dir := t.TempDir()
	files, err := filepath.Abs("chart/files")
	require.NoError(t, err)
	config := fmt.Sprintf(`
global: {scrape_interval: 1s, evaluation_interval: 1s}
rule_files: [%q]
scrape_configs:
  - job_name: oomwitness
    honor_labels: true
    static_configs: [{targets: [%q]}]
`, files+"/*.yaml", target)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "prometheus.yml"), []byte(config), 0o600))
	address := freeAddress(t)
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, "prometheus", "--config.file="+filepath.Join(dir, "prometheus.yml"),
		"--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+address)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	log, err := os.Create(filepath.Join(dir, "log"))
	require.NoError(t, err)
	cmd.Stdout, cmd.Stderr = log, log
	require.NoError(t, cmd.Start())
	gone := make(chan struct{})
	go func() {
		_ = cmd.Wait() // SIGTERM ends it
		close(gone)
	}()
	t.Cleanup(func() {
		cancel()
		<-gone
		log.Close()
		if t.Failed() {
			text, _ := os.ReadFile(log.Name())
			t.Logf("%s", text)
		}
	})
	return prometheus{url: "http://" + address, gone: gone}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	return listener.Addr().String()
}

// wait repeats the query until the answer has the text: Prometheus sends no event when it has
// scraped.
func (p prometheus) wait(t *testing.T, query, want string) {
	t.Helper()
	deadline := time.After(2 * time.Minute)
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	var last string
	for {
		select {
		case <-p.gone:
			require.Fail(t, "Prometheus has ended")
		case <-deadline:
			require.Fail(t, "not in time", "%s: %s", query, last)
		case <-tick.C:
			if last = p.ask(query); strings.Contains(last, want) {
				return
			}
		}
	}
}

func (p prometheus) ask(query string) string {
	r, err := http.Get(p.url + "/api/v1/query?query=" + url.QueryEscape(query))
	if err != nil {
		return err.Error()
	}
	defer r.Body.Close()
	var answer struct{ Data json.RawMessage }
	if err := json.NewDecoder(r.Body).Decode(&answer); err != nil {
		return err.Error()
	}
	return string(answer.Data)
}
