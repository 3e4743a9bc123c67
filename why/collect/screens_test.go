package collect_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/oom/exits"
	"github.com/oomwitness/oomwitness/why"
	"github.com/oomwitness/oomwitness/why/collect"
	"github.com/oomwitness/oomwitness/why/collect/collecttest"
)

var update = flag.Bool("update", false, "write the golden files")

// state is what has become of a container since it ended.
type state struct {
	sources func(e collecttest.Ending) collect.Sources
	// shown is a line that the page of every ending has.
	shown string
}

const newID = "fresh"

// ended is when the containers ended.
var ended = now.Add(-time.Minute)

var webPod = &why.Pod{Namespace: "shop", Name: "web-7d4b9c-x2x8v", UID: "u"}

// again is the next run of the container, which goes on.
var again = []collect.Running{{Ref: collect.Ref{ID: newID, Name: "app", Pod: webPod}, PID: 5000}}

var states = map[string]state{
	"gone": {func(e collecttest.Ending) collect.Sources {
		return collect.Sources{Exits: []exits.Exit{e.Exit("a0", collecttest.Pod, ended)}}
	}, ""},
	"alive again": {func(e collecttest.Ending) collect.Sources {
		return collect.Sources{Exits: []exits.Exit{e.Exit("a0", collecttest.Pod, ended)}, Running: again}
	}, "  now          the container runs again\n"},
	"restarted five times": {func(e collecttest.Ending) collect.Sources {
		s := collect.Sources{Running: again}
		for i, id := range []string{"a5", "a4", "a3", "a2", "a1", "a0"} {
			x := e.Exit(id, collecttest.Pod, ended)
			x.At = x.At.Add(-time.Duration(5-i) * time.Hour)
			s.Exits = append(s.Exits, x)
		}
		return s
	}, "  last 24 h    6 runs of this container ended, "},
	"without a ledger since": {func(e collecttest.Ending) collect.Sources {
		return collect.Sources{Exits: []exits.Exit{e.Exit("a0", collecttest.Pod, ended)}, NoEvents: "no ledger is loaded (oomwitness load)"}
	}, ""},
}

func page(t *testing.T, d *why.Document, o why.Options) string {
	t.Helper()
	o.Location = time.UTC
	var out bytes.Buffer
	require.NoError(t, d.Write(&out, o))
	return out.String()
}

// TestVerdicts: for each verdict, whatever has become of the container since, the page says
// what ended the run, and each fact is there or has its "not known, because".
func TestVerdicts(t *testing.T) {
	for name, e := range collecttest.Endings {
		for what, state := range states {
			t.Run(name+"/"+what, func(t *testing.T) {
				s := state.sources(e)
				s.Detail = "the ledger's records of victims have no such detail, and the verdict has none"
				require.Equal(t, e.Rule, s.Exits[0].Verdict.Rule)
				d := build(collect.Query{Any: webPod.Name}, s)
				out := page(t, &d, why.Options{})
				require.Regexp(t, `^shop/web-7d4b9c-x2x8v/app: `+e.Says+", 60s ago\n", out)
				require.Contains(t, out, state.shown)
				require.Equal(t, e.Says == collecttest.OOMKilled, d.OOMKilled(false))
				e.Complete(t, out)
			})
		}
	}
}

// TestScreens compares the page of each ending with its file. A page fits a terminal of 24
// lines.
func TestScreens(t *testing.T) {
	for name, e := range collecttest.Endings {
		t.Run(name, func(t *testing.T) {
			d := build(collect.Query{}, states["gone"].sources(e))
			out := page(t, &d, why.Options{})
			require.LessOrEqual(t, strings.Count(out, "\n"), 24, out)
			file := filepath.Join("testdata", name+".txt")
			if *update {
				require.NoError(t, os.MkdirAll("testdata", 0o755))
				require.NoError(t, os.WriteFile(file, []byte(out), 0o644))
			}
			want, err := os.ReadFile(file)
			require.NoError(t, err)
			require.Equal(t, string(want), out)
		})
	}
}

// TestRunning: the page of a container that runs has the last run that ended, and
// --previous the same. An OOM kill that the container survives is there.
func TestRunning(t *testing.T) {
	s := states["alive again"].sources(collecttest.Endings["init"])
	d := build(collect.Query{}, s)
	require.Contains(t, page(t, &d, why.Options{}), "now          the container runs again\n")
	require.NotContains(t, page(t, &d, why.Options{Previous: true}), "runs again")
	require.True(t, d.OOMKilled(true))
	s.Events = []collect.Event{{
		OOMEvent: why.OOMEvent{Time: now.Add(-2 * time.Second), Cause: "container", Killed: 1, Victims: []why.Victim{{PID: 5, Comm: "sh"}}},
		Of:       []collect.Ref{{ID: newID}},
	}}
	d = build(collect.Query{}, s)
	require.Contains(t, page(t, &d, why.Options{}), "runs again, and the OOM killer ended sh in the\n               container 2s ago\n")
	s.Exits = nil
	d = build(collect.Query{}, s)
	out := page(t, &d, why.Options{})
	require.Contains(t, out, "ended by     nothing: the container runs (pid 5000)\n")
	require.Contains(t, out, "OOM before   2s ago, which did not end the container")
	require.False(t, d.HasPrevious())
}
