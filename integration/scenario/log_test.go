//go:build linux

package scenario

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/integration/mix"
)

// shimLog is where containerd puts what its shims log.
const shimLog = "/var/log/containerd.log"

// field is one of a log line: key=word or key="text".
var field = regexp.MustCompile(`(\w+)=("(?:[^"\\]|\\.)*"|\S*)`)

// logged returns the log's lines of a message and a container, as fields.
func logged(t *testing.T, message, id string) []map[string]string {
	t.Helper()
	data, err := os.ReadFile(shimLog)
	require.NoError(t, err)
	var found []map[string]string
	for line := range strings.Lines(string(data)) {
		if !strings.Contains(line, id) {
			continue
		}
		fields := map[string]string{}
		for _, m := range field.FindAllStringSubmatch(line, -1) {
			fields[m[1]] = strings.Trim(m[2], `"`)
		}
		if fields["container"] == id && fields["msg"] == message {
			found = append(found, fields)
		}
	}
	return found
}

// logLine waits for the one line of a message and a container: containerd copies
// it from the shim in its own time.
func logLine(t *testing.T, message, id string) map[string]string {
	t.Helper()
	var found []map[string]string
	require.Eventually(t, func() bool {
		found = logged(t, message, id)
		return len(found) > 0
	}, time.Minute, 20*time.Millisecond, "no %q of %s in %s", message, id, shimLog)
	require.Len(t, found, 1)
	return found[0]
}

// checkWhole checks an outcome that the ledger decided, by events and record, and
// that the shim's log line says the same.
func checkWhole(t *testing.T, c mix.Case, o mix.Outcome) {
	t.Helper()
	check(t, c, o)
	v := o.Verdict
	require.NotNil(t, v)
	require.True(t, strings.HasPrefix(v.Evidence, "ledger"), "evidence %q", v.Evidence)
	require.Contains(t, []string{"A", "B", "C"}, v.Tier)
	require.False(t, v.Gone)
	line := logLine(t, "verdict", o.ID)
	for name, want := range map[string]any{
		"status": o.Status, "oom": v.OOMKilled, "cause": v.Cause, "init_victim": v.Init, "kills": v.Kills,
		"ended": v.Ended, "rule": v.Rule, "evidence": v.Evidence, "tier": v.Tier, "acked": v.OOMKilled,
	} {
		require.Equal(t, fmt.Sprint(want), line[name], "%s in %v", name, line)
	}
}
