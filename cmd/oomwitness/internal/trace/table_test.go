package trace_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"golang.org/x/text/width"

	"github.com/oomwitness/oomwitness/agent"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/trace"
	"github.com/oomwitness/oomwitness/oom"
)

// odd are unusual names of pods, containers, units and processes.
var odd = []string{
	"", "a", "web-7d4b9c8f6-x2x1z", "データベース-サーバー-本番環境-01", "漢字", "데이터베이스", "🔥🔥🔥", "👩‍👩‍👧", "❤️", "🇫🇷",
	"e\u0301te\u0301", "z" + strings.Repeat("\u0301", 40), "\u0301", "\x1b[2J\x1b[31mred", "a\nb", "a\tb", "\xff\xfe", "\u202eabc", "\u200b", "\x00",
	"Ａｂｃ", "ｱｲｳ", "한글", "नमस्ते", "…………", strings.Repeat("n", 253), strings.Repeat("界", 253), strings.Repeat("e\u0301", 253), strings.Repeat("\x1b", 253),
}

// oddEvent returns an event with the name in each place for a name.
func oddEvent(name string, pid uint32) agent.OOMEvent {
	rss := uint64(pid) * 4096
	return agent.OOMEvent{
		Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Cause: oom.CauseMempolicy, Tier: "A",
		Domain: &agent.Domain{ID: 2, Path: "/" + name, Size: rss},
		Victims: []agent.Victim{{
			Comm: name, IDs: agent.IDs{PID: pid}, Memory: agent.Memory{RSS: &rss}, Cgroup: agent.Cgroup{ID: 1, Path: "/" + name},
			Container: &agent.Container{ID: name, Name: name, Image: name}, Pod: &agent.Pod{UID: name, Namespace: name, Name: name},
		}},
	}
}

// oddEvents returns events for the names of odd: with a container's name, without one, and in
// no pod.
func oddEvents() (list []agent.OOMEvent) {
	for i, name := range odd {
		e := oddEvent(name, []uint32{1, 4711, 1 << 22}[i%3])
		bare := with(e, func(v *agent.Victim) { v.Container, v.Pod = &agent.Container{ID: name}, &agent.Pod{UID: name} })
		unit := with(e, func(v *agent.Victim) { v.Container, v.Pod, v.Cgroup.Path = nil, nil, "/system.slice/"+name+".service" })
		gone := with(e, func(v *agent.Victim) {
			v.Container, v.Pod, v.Cgroup = nil, nil, agent.Cgroup{ID: 1, Ancestor: "/" + name}
		})
		list = append(list, e, bare, unit, gone)
	}
	return list
}

// terminalCells returns the cells of a line, from the widths of the Unicode standard.
func terminalCells(line string) (n int) {
	for _, r := range line {
		switch kind := width.LookupRune(r).Kind(); {
		case strings.ContainsRune("\u0301\ufe0f\u0947\u094d", r): // the marks in odd
		case kind == width.EastAsianWide || kind == width.EastAsianFullwidth:
			n += 2
		default:
			n++
		}
	}
	return n
}

func written(t *testing.T, format string, columns int, events []agent.OOMEvent) string {
	t.Helper()
	time.Local = time.UTC
	var out bytes.Buffer
	w := trace.NewWriter(&out, format, columns)
	require.NoError(t, w.Begin())
	for _, e := range events {
		require.NoError(t, w.Write(&e))
	}
	require.NoError(t, w.Flush())
	return out.String()
}

// TestAligned: for any names, no line is longer than the terminal, each event has one line, and
// the time is in the same column of each line.
func TestAligned(t *testing.T) {
	for _, form := range []struct {
		format  string
		columns int
		clock   string
	}{
		{"text", 80, "01-02 03:04:05"}, {"text", 79, "03:04:05"}, {"text", 60, "03:04:05"}, {"text", 59, "03:04:05"}, {"text", 40, "03:04:05"},
		{"text", 32, "03:04:05"}, {"text", 120, "01-02 03:04:05"}, {"text", 500, "01-02 03:04:05"}, {"wide", 80, "2026-01-02 03:04:05"},
	} {
		t.Run(fmt.Sprint(form.format, " ", form.columns), func(t *testing.T) {
			events := oddEvents()
			lines := strings.Split(strings.TrimSuffix(written(t, form.format, form.columns, events), "\n"), "\n")
			require.Len(t, lines, len(events)+1)
			before, _, ok := strings.Cut(lines[0], "TIME")
			require.True(t, ok, "%q", lines[0])
			for i, line := range lines {
				require.True(t, utf8.ValidString(line))
				require.Equal(t, agent.Clean(line), line, "printed as it stands")
				if form.format == "text" {
					require.LessOrEqual(t, terminalCells(line), form.columns, "%q", line)
				}
				if i == 0 {
					continue
				}
				name, rest, ok := strings.Cut(line, form.clock)
				require.True(t, ok, "%q", line)
				require.Equal(t, terminalCells(before), terminalCells(name), "%q", line)
				require.Contains(t, rest, fmt.Sprintf("[%d]", events[i-1].First().PID), "the PID is whole")
				require.NotEmpty(t, strings.TrimSpace(name), "%q", line)
			}
		})
	}
	require.Equal(t, written(t, "text", 32, oddEvents()), written(t, "text", 1, oddEvents()), "narrower than the least")
}

// TestNamesStayApart: a cut name keeps its end.
func TestNamesStayApart(t *testing.T) {
	var events []agent.OOMEvent
	for _, suffix := range []string{"x2x1z", "k8s2p"} {
		e := oddEvent("", 4711)
		e.First().Comm = "python3"
		e.First().Pod = &agent.Pod{Namespace: "production", Name: "recommendation-engine-7d4b9c8f6-" + suffix}
		e.First().Container = &agent.Container{ID: "1", Name: "app"}
		events = append(events, e)
	}
	out := written(t, "text", trace.DefaultColumns, events)
	require.Contains(t, out, "producti…b9c8f6-x2x1z/app  ")
	require.Contains(t, out, "producti…b9c8f6-k8s2p/app  ")
	require.Contains(t, written(t, "wide", 80, events), "production/recommendation-engine-7d4b9c8f6-k8s2p/app  ")
}

// TestGoldenOdd compares the table of odd names with a file. UPDATE=1 writes the file.
func TestGoldenOdd(t *testing.T) {
	for _, columns := range []int{80, 60, 40} {
		golden := filepath.Join("testdata", fmt.Sprintf("odd.%d", columns))
		out := written(t, "text", columns, oddEvents())
		if os.Getenv("UPDATE") != "" {
			require.NoError(t, os.WriteFile(golden, []byte(out), 0o644))
		}
		want, err := os.ReadFile(golden)
		require.NoError(t, err)
		require.Equal(t, string(want), out)
	}
}

// TestWideGrows: a later row of the wide form that is longer than the past rows widens the rows
// after it.
func TestWideGrows(t *testing.T) {
	time.Local = time.UTC
	var out bytes.Buffer
	w := trace.NewWriter(&out, "wide", 80)
	require.NoError(t, w.Begin())
	first := oddEvent("a", 1)
	require.NoError(t, w.Write(&first))
	require.Empty(t, out.String(), "held back until all widths are known")
	require.NoError(t, w.Flush())
	for _, name := range []string{"much-longer-than-the-first", "b"} {
		e := oddEvent(name, 1)
		require.NoError(t, w.Write(&e))
	}
	lines := strings.Split(out.String(), "\n")
	require.Len(t, lines, 5)
	require.Equal(t, strings.Index(lines[2], "2026-"), strings.Index(lines[3], "2026-"))
	require.Less(t, strings.Index(lines[1], "2026-"), strings.Index(lines[2], "2026-"))
	require.Contains(t, lines[2], strings.Repeat("much-longer-than-the-first/", 2))
}
