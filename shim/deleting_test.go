//go:build linux

package shim

import (
	"fmt"
	"sync/atomic"
	"testing"

	cgroup2 "github.com/containerd/cgroups/v3/cgroup2/stats"
	taskAPI "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/typeurl/v2"
	"github.com/stretchr/testify/require"
)

// moment is how far a Delete is.
type moment string

const (
	taskThere  moment = "before the task leaves"
	taskLeft   moment = "after the task has left, before the tombstone is there" // upstream knows no such container
	tombstoned moment = "after"
)

// deletesUpTo begins a Delete, which stops at a moment. The returned function has the
// Delete go on, and returns when the Delete is over.
func deletesUpTo(b *bench, m moment) (goesOn func()) {
	stopped := make(chan struct{})
	stop := func(at moment, before func()) func() {
		return func() {
			if before != nil {
				before()
			}
			if at == m {
				<-stopped
			}
		}
	}
	b.task.onDelete = stop(taskThere, b.task.onDelete)
	b.task.onLeft = stop(taskLeft, b.task.onLeft)
	over := make(chan struct{})
	go func() {
		defer close(over)
		_, _ = b.Delete(b.ctx, &taskAPI.DeleteRequest{ID: "c"})
	}()
	settle()
	return func() {
		close(stopped)
		<-over
		settle()
	}
}

// queries are the calls that show something of a task. Each returns what the call shows.
var queries = map[string]func(b *bench) (string, error){
	"State": func(b *bench) (string, error) {
		resp, err := b.State(b.ctx, &taskAPI.StateRequest{ID: "c"})
		return fmt.Sprintf("%v %d", resp.GetStatus(), resp.GetExitStatus()), err
	},
	"Wait": func(b *bench) (string, error) {
		resp, err := b.Wait(b.ctx, &taskAPI.WaitRequest{ID: "c"})
		return fmt.Sprint(resp.GetExitStatus()), err
	},
	"Stats": func(b *bench) (string, error) {
		resp, err := b.Stats(b.ctx, &taskAPI.StatsRequest{ID: "c"})
		if err != nil {
			return "", err
		}
		metrics, err := typeurl.UnmarshalAny(resp.Stats)
		if err != nil {
			return "", err
		}
		return fmt.Sprintf("%d OOM kills", metrics.(*cgroup2.Metrics).MemoryEvents.GetOomKill()), nil
	},
	"Pids": func(b *bench) (string, error) {
		resp, err := b.Pids(b.ctx, &taskAPI.PidsRequest{ID: "c"})
		return fmt.Sprintf("%d processes", len(resp.GetProcesses())), err
	},
	"Connect": func(b *bench) (string, error) {
		resp, err := b.Connect(b.ctx, &taskAPI.ConnectRequest{ID: "c"})
		return fmt.Sprintf("init %t", resp.GetTaskPid() != 0), err
	},
}

// aDelete is the end of a container, and what a query shows while the container is
// deleted.
type aDelete struct {
	before step // the Delete
	during bool // init ends during the Delete, and only the answer of upstream says so
	status int
	kills  int
}

var deletesOf = map[string]aDelete{
	"OOM":                   {before: func(t *testing.T, b *bench) { isKilled(t, b); asksWait(t, b) }, status: 137, kills: 1},
	"not OOM":               {before: func(t *testing.T, b *bench) { ends(t, b); asksWait(t, b) }, status: 3},
	"OOM during the Delete": {before: isNamed, during: true, status: 137, kills: 1},
}

// begin begins the Delete.
func (d aDelete) begin(t *testing.T, b *bench, m moment) (goesOn func()) {
	t.Helper()
	stats, err := typeurl.MarshalAny(&cgroup2.Metrics{})
	require.NoError(t, err)
	b.task.stats = stats
	b.createInPod(t, "c")
	connects(t, b)
	d.before(t, b)
	var init *fakeInit
	if d.during {
		b.task.onDelete = func() { init = b.task.end(t, "c", d.status) }
	}
	deleted := deletesUpTo(b, m)
	if !d.during {
		return deleted
	}
	if m == tombstoned {
		b.task.publishExit(t, "c", init)
		settle()
		return deleted
	}
	return func() {
		b.task.publishExit(t, "c", init)
		deleted()
	}
}

// shows returns what a query shows. An instance that recovers containers learns of the
// exit by Wait.
func (d aDelete) shows(query string, m moment, recovers bool) string {
	switch {
	case query == "Pids":
		return "1 processes"
	case query == "Connect":
		return "init true"
	case query == "State" && recovers && m != tombstoned:
		return "RUNNING 0"
	case query == "State":
		return fmt.Sprintf("STOPPED %d", d.status)
	case query == "Wait":
		return fmt.Sprint(d.status)
	case d.during && m != tombstoned:
		return "0 OOM kills" // the last metrics of a container that runs, as far as the caller may know
	}
	return fmt.Sprintf("%d OOM kills", d.kills)
}

// A Delete is ending when a query comes. Whatever the moment, the query finds the
// container: that of the next instance always, that of the same one for as long as this
// instance does not have the answer to its Delete.
func TestAQueryMeetsADelete(t *testing.T) {
	for end, d := range deletesOf {
		for _, m := range []moment{taskThere, taskLeft, tombstoned} {
			for name, query := range queries {
				t.Run(fmt.Sprintf("%s/%s/%s/the next instance", end, m, name), bubble(func(t *testing.T) {
					b := newBench(t)
					goesOn := d.begin(t, b, m)
					dies(t, b)
					isBack(t, b)
					connects(t, b)
					require.Equal(t, d.shows(name, m, true), asksWhile(t, b, query, goesOn))
					asksWait(t, b)
					deletes(t, b)
				}))
				if m == tombstoned {
					continue
				}
				t.Run(fmt.Sprintf("%s/%s/%s/the same instance", end, m, name), bubble(func(t *testing.T) {
					b := newBench(t)
					require.Equal(t, d.shows(name, m, false), asksWhile(t, b, query, d.begin(t, b, m)))
				}))
			}
		}
	}
}

// asksWhile returns what a query shows that comes while a Delete is stopped, which goes on
// when nothing else can happen.
func asksWhile(t *testing.T, b *bench, query func(*bench) (string, error), goesOn func()) string {
	t.Helper()
	var shown string
	answered := make(chan error, 1)
	go func() {
		var err error
		shown, err = query(b)
		answered <- err
	}()
	settle()
	goesOn()
	require.NoError(t, <-answered)
	return shown
}

// The same where a query of a container that runs has come to upstream, and upstream
// looks for the task when the task has left.
func TestADeleteOvertakesAQuery(t *testing.T) {
	for end, d := range deletesOf {
		for name, query := range queries {
			if d.during || name == "Connect" || name == "Wait" { // of which upstream hears nothing
				continue
			}
			t.Run(end+"/"+name, bubble(func(t *testing.T) {
				b := newBench(t)
				var stopped atomic.Bool
				left := make(chan struct{})
				var shown string
				answered := make(chan error, 1)
				overtakes := d
				overtakes.before = func(t *testing.T, b *bench) {
					t.Helper()
					b.task.onCall = func(called string) {
						if called == name && stopped.CompareAndSwap(false, true) {
							<-left
						}
					}
					go func() {
						var err error
						shown, err = query(b)
						answered <- err
					}()
					settle()
					d.before(t, b)
				}
				goesOn := overtakes.begin(t, b, taskLeft)
				require.True(t, stopped.Load())
				require.Empty(t, answered)
				close(left)
				require.NoError(t, <-answered)
				slow := name == "State" // for longer than State is held
				require.Equal(t, d.shows(name, taskLeft, slow), shown)
				goesOn()
			}))
		}
	}
}
