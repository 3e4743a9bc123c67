//go:build linux

// Package agent has the real agent report real kills on the guest's node, and
// reads all that it reports: log, Events, metrics and page.
package agent

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/oomwitness/oomwitness/agent/agenttest"
	"github.com/oomwitness/oomwitness/integration/faultkit"
)

const (
	address = "127.0.0.1:18080"
	// message is that of an OOM event in the log.
	message = agenttest.LogMessage
)

// Line is what the log says of an OOM event.
type Line struct {
	Msg, ID, Cause, Tier string
	Domain               string
	LimitBytes           *uint64 `json:"limit_bytes"`
	UsageBytes           *uint64 `json:"usage_bytes"`
	Trigger              agenttest.Process
	Victims              []agenttest.Victim
}

// Process is an agent.
type Process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when its log has ended

	mu      sync.Mutex // guards what follows
	lines   []Line
	others  []string // of the log, for a test that fails
	changed chan struct{}
}

// Options say how an agent is started.
type Options struct {
	// Program is the command; Node the name that it has in Kubernetes.
	Program, Kubeconfig, Node, State string
	Flags                            []string
	// Score is its oom_score_adj, "" for this process's: lowering it takes
	// CAP_SYS_RESOURCE.
	Score string
}

// Start starts the agent, and comes back when it reads the ledger.
func Start(ctx context.Context, o Options) (*Process, error) {
	// It is the test that ends it, also after ctx.
	cmd := exec.CommandContext(context.WithoutCancel(ctx), o.Program, append([]string{
		"agent", "--state-dir", o.State, "--log-format", "json", "--metrics-address", address, "--page-all",
		"--kubeconfig", o.Kubeconfig, "--node-name", o.Node,
	}, o.Flags...)...)
	out, err := cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the agent: %w", err)
	}
	p := &Process{cmd: cmd, done: make(chan struct{}), changed: make(chan struct{})}
	go p.read(out)
	if o.Score != "" {
		if err := os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", cmd.Process.Pid), []byte(o.Score), 0); err != nil {
			return nil, errors.Join(err, p.End(syscall.SIGKILL))
		}
	}
	if err := faultkit.Until(ctx, "the agent to be ready", func() error { _, err := Get(ctx, "/readyz"); return err }); err != nil {
		return nil, errors.Join(err, p.End(syscall.SIGKILL), errors.New(p.Log()))
	}
	return p, nil
}

func (p *Process) read(out io.Reader) {
	defer close(p.done)
	scanner := bufio.NewScanner(out)
	scanner.Buffer(nil, 4<<20)
	for scanner.Scan() {
		var line Line
		err := json.Unmarshal(scanner.Bytes(), &line)
		p.mu.Lock()
		if err == nil && line.Msg == message {
			p.lines = append(p.lines, line)
		} else {
			p.others = append(p.others, scanner.Text())
		}
		close(p.changed)
		p.changed = make(chan struct{})
		p.mu.Unlock()
	}
}

// End ends it by a signal, and waits until it has.
func (p *Process) End(s syscall.Signal) error {
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-p.done
	err := p.cmd.Wait()
	if s == syscall.SIGKILL {
		return nil
	}
	return err
}

// Lines are those of OOM events up to now.
func (p *Process) Lines() []Line {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]Line(nil), p.lines...)
}

// Log is the rest of the log.
func (p *Process) Log() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.others, "\n")
}

// PID is the agent's.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Find waits for the first OOM event of which is says yes.
func (p *Process) Find(ctx context.Context, what string, is func(*Line) bool) (Line, error) {
	late := time.After(faultkit.Patience)
	for {
		p.mu.Lock()
		changed := p.changed
		for i := range p.lines {
			if is(&p.lines[i]) {
				defer p.mu.Unlock()
				return p.lines[i], nil
			}
		}
		p.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return Line{}, ctx.Err()
		case <-p.done:
			return Line{}, fmt.Errorf("no line of %s: the agent has ended: %s", what, p.Log())
		case <-late:
			return Line{}, fmt.Errorf("no line of %s in %s: %s", what, faultkit.Patience, p.Log())
		}
	}
}

// Get asks the agent's page.
func Get(ctx context.Context, path string) (string, error) {
	return faultkit.Get(ctx, "http://"+address+path)
}

// Counted sums the series of oomwitness_oom_kills_total whose labels hold all the
// texts, such as pod="web".
func Counted(ctx context.Context, labels ...string) (float64, error) {
	return Metric(ctx, "oomwitness_oom_kills_total", labels...)
}

// Metric sums the series of a metric whose labels hold all the texts.
func Metric(ctx context.Context, name string, labels ...string) (float64, error) {
	body, err := Get(ctx, "/metrics")
	if err != nil {
		return 0, err
	}
	return Sum(body, name, labels...)
}

// Sum is Metric of an answer that is there.
func Sum(body, name string, labels ...string) (float64, error) {
	sum := 0.0
	for line := range strings.Lines(body) {
		series, ok := strings.CutPrefix(line, name)
		if !ok || !strings.HasPrefix(series, "{") && !strings.HasPrefix(series, " ") || !holdsAll(series, labels) {
			continue
		}
		fields := strings.Fields(series)
		n, err := strconv.ParseFloat(fields[len(fields)-1], 64)
		if err != nil {
			return 0, fmt.Errorf("%q: %w", line, err)
		}
		sum += n
	}
	return sum, nil
}

func holdsAll(line string, texts []string) bool {
	for _, text := range texts {
		if !strings.Contains(line, text) {
			return false
		}
	}
	return true
}
