package why_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/why"
	"github.com/oomwitness/oomwitness/why/text"
)

var update = flag.Bool("update", false, "write the golden files")

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func ago(d time.Duration) *time.Time { return new(now.Add(-d)) }

func mi(n uint64) *uint64 { return new(n << 20) }

var web = &why.Pod{Namespace: "shop", Name: "web-7d4b9c-x2x8v", UID: "u"}

const id = "3f2a5c1d7e9b3f2a5c1d7e9b3f2a5c1d7e9b3f2a5c1d7e9b3f2a5c1d7e9b3f2a"

func run(ended string, status int, before time.Duration, change ...func(*why.Run)) why.Run {
	r := why.Run{
		Pod: web, Container: why.Container{ID: id, Name: "app", Image: "example.com/web:1"}, PID: 4002,
		EndedAt: ago(before), Status: &status,
		Verdict: &why.Verdict{Ended: ended, InitVictim: "no", Rule: "8", Evidence: "ledger", Tier: "A"},
		Memory:  why.Memory{Peak: mi(60), Limit: mi(64), Request: mi(32)},
	}
	for _, c := range change {
		c(&r)
	}
	r.Advise()
	return r
}

func oomKilled(cause, lineage string) func(*why.Run) {
	return func(r *why.Run) {
		r.Verdict.Cause, r.Verdict.Kills, r.Verdict.Rule = cause, 1, "1"
		r.Verdict.InitVictim = map[bool]string{true: "yes", false: "no"}[lineage == "init"]
		r.Memory.Peak = mi(64)
		r.Recent = &why.Recent{Hours: 24, Runs: 6, OOM: 5}
		r.OOM = event(cause, lineage, *r.EndedAt)
	}
}

func event(cause, lineage string, at time.Time) *why.OOMEvent {
	return &why.OOMEvent{
		Time: at, Cause: cause, Tier: "A", LimitBytes: mi(64), UsageBytes: mi(64), Killed: 1,
		Victims: []why.Victim{{
			PID: 4002, Comm: "python3", Init: lineage == "init", Lineage: lineage, OOMScoreAdj: 998,
			RSS: mi(60), Anon: mi(59), File: mi(1), Shmem: new(uint64(0)),
		}},
		Kinds: []why.Kind{
			{Name: why.KindKernel, Bytes: 2 << 20}, {Name: why.KindAnon, Bytes: 59 << 20}, {Name: why.KindFile, Bytes: 3 << 20}, {Name: why.KindShmem},
		},
		Candidates: []why.Candidate{{PID: 4002, Comm: "python3", RSS: 60 << 20}, {PID: 4001, Comm: "sh", RSS: 1 << 20}},
	}
}

func document(runs ...why.Run) *why.Document {
	return &why.Document{Schema: why.Schema, Time: now, Node: "node-1", Source: why.SourceAgent, Runs: runs}
}

// hostile names are such as a tenant can choose.
func hostile(r *why.Run) {
	r.OOM.Victims[0].Comm = "\x1b[2J\xff本番環境本番環"
	r.Pod = &why.Pod{Namespace: strings.Repeat("n", 63), Name: strings.Repeat("p", 253)}
}

var cases = map[string]struct {
	d *why.Document
	o why.Options
}{
	"oom-container": {document(run(why.EndedOOM, 137, 3*time.Minute, oomKilled("container", "init"))), why.Options{}},
	"oom-pod-child": {document(run(why.EndedOOM, 1, time.Hour, oomKilled("pod", "descendant"), func(r *why.Run) { r.Reported = new(42) })), why.Options{}},
	"oom-node":      {document(run(why.EndedOOM, 137, time.Hour, oomKilled("node", "init"), func(r *why.Run) { r.OOM.LimitBytes = nil; r.Restarts = new(7) })), why.Options{}},
	"oom-tier-c": {document(run(why.EndedOOM, 137, time.Hour, oomKilled("unknown", ""), func(r *why.Run) {
		r.OOM.Kinds, r.OOM.Candidates, r.OOM.LimitBytes = nil, nil, nil
		r.Verdict.Tier = "C"
		r.Lacks("kinds", "a ledger of tier C does not see them")
		r.Lacks("candidates", "a ledger of tier C does not see them")
		r.Lacks("lineage", "a ledger of tier C does not see it")
		r.PID = 1
	})), why.Options{}},
	"oom-event-gone": {document(run(why.EndedOOM, 137, time.Hour, oomKilled("container", "init"), func(r *why.Run) {
		r.OOM, r.Memory = nil, why.Memory{}
		r.Lacks("oom_event", "no ledger is loaded")
		r.Lacks("limit_bytes", "the cgroup was gone before its metrics were read")
		r.Lacks("peak_bytes", "the cgroup was gone before its metrics were read")
		r.Lacks("request_bytes", "the API server was not asked")
	})), why.Options{}},
	"signal-sender": {document(run(why.EndedSignal, 137, time.Minute, func(r *why.Run) {
		r.Sender = &why.Process{PID: 812, Comm: "watchdog", UID: new(uint32(0)), Cgroup: "/system.slice/watchdog.service"}
	})), why.Options{}},
	"signal-unknown": {document(run(why.EndedSignal, 137, time.Minute, func(r *why.Run) { r.Lacks("sender", "no ledger was in force") })), why.Options{}},
	"stopped":        {document(run(why.EndedStopped, 137, time.Minute, func(r *why.Run) { r.Signals = []string{"SIGTERM", "SIGKILL"} })), why.Options{}},
	"exited": {document(run(why.EndedExited, 3, 50*time.Hour, func(r *why.Run) {
		r.OOM = event("container", "exec", now.Add(-51*time.Hour))
		r.Verdict.Kills = 1
	})), why.Options{}},
	"running": {document(why.Run{Pod: web, Container: why.Container{Name: "app"}, Running: true, PID: 7}), why.Options{}},
	"nothing known": {document(why.Run{Container: why.Container{ID: id}, Missing: []why.Missing{
		{Field: "verdict", Because: "the container does not run under oomwitness's shim"},
		{Field: "exit_status", Because: "without the shim only the kernel's record of the OOM event is known"},
	}}), why.Options{}},
	"restarted": {document(run(why.EndedOOM, 137, time.Minute, oomKilled("container", "init")), run(why.EndedExited, 0, time.Hour),
		run(why.EndedExited, 1, 2*time.Hour), run(why.EndedStopped, 143, 3*time.Hour), run(why.EndedSignal, 139, 4*time.Hour),
		run(why.EndedOOM, 137, 5*time.Hour, oomKilled("node", "init")), run(why.EndedExited, 2, 6*time.Hour)), why.Options{}},
	"previous": {document(run(why.EndedExited, 0, time.Minute), run(why.EndedOOM, 137, time.Hour, oomKilled("container", "init"))), why.Options{Previous: true}},
	"wide":     {document(run(why.EndedOOM, 137, time.Minute, oomKilled("container", "init")), run(why.EndedExited, 0, time.Hour)), why.Options{Wide: true, Columns: 100}},
	"narrow":   {document(run(why.EndedOOM, 137, time.Minute, oomKilled("container", "init"))), why.Options{Columns: 60}},
	"hostile":  {document(run(why.EndedOOM, 137, time.Minute, oomKilled("container", "init"), hostile)), why.Options{}},
	"note": {&why.Document{Time: now, Source: why.SourceKubernetes, Runs: []why.Run{run(why.EndedExited, 0, time.Minute)}, Notes: []string{
		"no agent answers for node-1 (no pod with the label app.kubernetes.io/component=agent runs there): this is the status of the pod and its Events alone",
	}}, why.Options{}},
}

// TestGolden compares each page with its file. No line is longer than the terminal.
func TestGolden(t *testing.T) {
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			c.o.Location = time.UTC
			var out bytes.Buffer
			require.NoError(t, c.d.Write(&out, c.o))
			for line := range strings.Lines(out.String()) {
				columns := c.o.Columns
				if columns == 0 {
					columns = text.DefaultColumns
				}
				require.LessOrEqual(t, text.Cells(strings.TrimSuffix(line, "\n")), columns, line)
				require.Equal(t, strings.TrimRight(line, " \n")+"\n", line)
			}
			file := filepath.Join("testdata", strings.ReplaceAll(name, " ", "-")+".txt")
			if *update {
				require.NoError(t, os.WriteFile(file, out.Bytes(), 0o644))
			}
			want, err := os.ReadFile(file)
			require.NoError(t, err)
			require.Equal(t, string(want), out.String())
		})
	}
}

// TestOneScreen: a page with everything fits a terminal of 24 lines.
func TestOneScreen(t *testing.T) {
	d := document(run(why.EndedOOM, 137, time.Minute, oomKilled("container", "init"), func(r *why.Run) { r.Restarts = new(5) }))
	for i := range 5 {
		d.Runs = append(d.Runs, run(why.EndedOOM, 137, time.Duration(i+1)*time.Hour, oomKilled("container", "init")))
	}
	var out bytes.Buffer
	require.NoError(t, d.Write(&out, why.Options{}))
	require.LessOrEqual(t, strings.Count(out.String(), "\n"), 24, out.String())
}

// TestOOMKilled: the exit status of the commands follows the run that is shown.
func TestOOMKilled(t *testing.T) {
	d := cases["previous"].d
	require.False(t, d.OOMKilled(false))
	require.True(t, d.OOMKilled(true))
	require.True(t, d.HasPrevious())
	require.False(t, cases["running"].d.HasPrevious())
	byEvent := document(why.Run{OOM: event("node", "init", now)})
	require.True(t, byEvent.OOMKilled(false), "init was a victim")
	byEvent.Runs[0].OOM.Victims[0].Init = false
	require.False(t, byEvent.OOMKilled(false))
}

// TestJSON: what is not known is there as null, and a document is read back as it was.
func TestJSON(t *testing.T) {
	for name, c := range cases {
		data, err := json.Marshal(c.d)
		require.NoError(t, err)
		var back why.Document
		require.NoError(t, json.Unmarshal(data, &back), name)
		again, err := json.Marshal(&back)
		require.NoError(t, err)
		require.JSONEq(t, string(data), string(again), name)
	}
	data, err := json.Marshal(why.Run{})
	require.NoError(t, err)
	require.JSONEq(t, `{"container": {}, "ended_at": null, "exit_status": null, "verdict": null,
		"memory": {"peak_bytes": null, "limit_bytes": null, "request_bytes": null}}`, string(data))
}

// TestSignals: a status above 128 that stands for no signal is a number.
func TestSignals(t *testing.T) {
	require.Equal(t, "SIGKILL", why.SignalOfStatus(137))
	require.Empty(t, why.SignalOfStatus(255))
	require.Empty(t, why.SignalOfStatus(3))
	require.Equal(t, "signal 64", why.SignalName(64))
}

func ExampleDocument_Write() {
	d := document(run(why.EndedStopped, 143, time.Minute, func(r *why.Run) { r.Signals = []string{"SIGTERM"} }))
	if err := d.Write(os.Stdout, why.Options{Location: time.UTC}); err != nil {
		fmt.Println(err)
	}
	// Output:
	// shop/web-7d4b9c-x2x8v/app: stopped as asked, 60s ago
	//   ended by     a stop that containerd was asked for
	//   exit status  143 (SIGTERM)
	//   ended at     2026-01-02 03:03:05 UTC
	//   asked for    SIGTERM, by containerd's client (kubelet in a cluster)
	//   memory       limit 64.0Mi, request 32.0Mi, peak 60.0Mi (94% of the limit)
	//   what to do   Find out who had the container stopped: a failed liveness probe,
	//                an eviction, a rollout or a deletion (kubectl describe pod).
}
