//go:build linux

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/agent"
	"github.com/oomwitness/oomwitness/agent/agenttest"
	"github.com/oomwitness/oomwitness/why/cli/clitest"
)

// agentProcess is the agent in a process of its own.
type agentProcess struct {
	cmd *exec.Cmd
	log *bufio.Scanner
}

func startAgent(t *testing.T, args ...string) *agentProcess {
	t.Helper()
	return startAgentIn(t, &syscall.SysProcAttr{}, nil, args...)
}

// asInPod has a program see no PIDs but its own and those below.
var asInPod = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}

// agentTime is how long an agent may run: then its log ends, and a test that waits for a line
// fails.
const agentTime = 3 * time.Minute

// startAgentIn starts an agent with attributes of its process, and more environment variables.
func startAgentIn(t *testing.T, attr *syscall.SysProcAttr, env []string, args ...string) *agentProcess {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), agentTime)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, self, append([]string{
		"agent", "--kubernetes=false", "--metrics-address", "", "--address", "", "--log-format", "json",
	}, args...)...)
	cmd.Env = append(append(os.Environ(), clitest.AsProgram+"=1"), env...)
	cmd.SysProcAttr = attr
	out, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	return &agentProcess{cmd: cmd, log: bufio.NewScanner(out)}
}

// logLine is what the tests read of the agent's log.
type logLine struct {
	Msg, Cause, Tier, ID string
	Victims              []agent.Victim
}

// next returns the next OOM event of the log, false at the log's end.
func (a *agentProcess) next(t *testing.T) (logLine, bool) {
	t.Helper()
	for a.log.Scan() {
		var line logLine
		require.NoError(t, json.Unmarshal(a.log.Bytes(), &line), "%s", a.log.Bytes())
		if line.Msg == agenttest.LogMessage {
			return line, true
		}
	}
	return logLine{}, false
}

// end ends it by a signal, reads its log to the end and waits.
func (a *agentProcess) end(t *testing.T, s syscall.Signal) (rest []logLine) {
	t.Helper()
	require.NoError(t, a.cmd.Process.Signal(s))
	for {
		line, ok := a.next(t)
		if !ok {
			break
		}
		rest = append(rest, line)
	}
	err := a.cmd.Wait()
	if s == syscall.SIGTERM {
		require.NoError(t, err)
	}
	return rest
}
