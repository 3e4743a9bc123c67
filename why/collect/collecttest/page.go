package collecttest

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/why/text"
)

// Complete asserts the lines of a page, and that none of them is odd.
func (e Ending) Complete(t *testing.T, out string) {
	t.Helper()
	labels := []string{"ended by", "exit status", "ended at", "memory", "last 24 h"}
	switch e.Says {
	case OOMKilled:
		labels = append(labels, "victim", "what to do")
		if !strings.Contains(out, "victim       not known, because ") {
			labels = append(labels, "filled by", "largest")
		}
	case Stopped:
		labels = append(labels, "asked for", "what to do")
	case Signal:
		labels = append(labels, "sent by", "what to do")
	}
	for _, label := range labels {
		require.Regexp(t, `(?m)^  `+label+` +\S`, out)
	}
	flat := strings.ReplaceAll(out, "\n               ", " ")
	for _, fact := range []string{"limit", "request", "peak"} {
		require.Regexp(t, `(?m)^  memory .*`+fact+` (\d|not known, because )`, flat)
	}
	if e.Says == OOMKilled {
		require.Regexp(t, `(?m)^  ended by     the OOM killer: `, out)
	}
	for line := range strings.Lines(out) {
		require.LessOrEqual(t, text.Cells(strings.TrimSuffix(line, "\n")), text.DefaultColumns, line)
	}
	require.NotRegexp(t, `pid 0\b|\(\)|<nil>|%!|because $`, out)
	_, flat, _ = strings.Cut(flat, "\n") // without the headline
	for line := range strings.Lines(flat) {
		if strings.Contains(line, "not known") && !strings.HasPrefix(line, "  earlier runs") {
			require.Contains(t, line, "because ", "an unknown fact has its reason")
		}
	}
}
