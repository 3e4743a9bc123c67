//go:build linux

package fire

import (
	"testing"

	eventsapi "github.com/containerd/containerd/api/events"
	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/integration/shimtest"
)

const liveConfig = "hold_timeout = '5m'\nreport = 'live'\n"

// quiet are the events of a container without a TaskOOM.
var quiet = []string{createTopic, startTopic, exitTopic, deleteTopic}

// TestReport has a child OOM-killed, and init exit with 0 later.
func TestReport(t *testing.T) {
	live := shimtest.Annotation(reportAnnotation, "live")
	for name, test := range map[string]struct {
		config string
		change change
		want   []string
	}{
		"default":         {patient, small, quiet},
		"live annotation": {patient, live, full},
		"live config":     {liveConfig, small, full},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := deadline(t)
			n := node(t, test.config)
			c := n.Run("child", shimtest.Args("child-oom-exit", "0", "3000"), test.change)
			require.NoError(t, c.Shim.WaitLog(ctx, killed))
			get(t, watchWait(ctx, c), 0)
			end(t, c)
			wantEvents(t, n, c, test.want...)
			if len(test.want) != len(full) {
				return
			}
			exit, ok := event(t, n, exitTopic, c.ID).Message.(*eventsapi.TaskExit)
			require.True(t, ok)
			require.True(t, event(t, n, oomTopic, c.ID).Accepted.Before(exit.ExitedAt.AsTime()), "not as it happened")
		})
	}
}

// TestReportPrecedence has annotations and configuration disagree. The log has the kill in
// either mode, and a TaskOOM would have been sent by then.
func TestReportPrecedence(t *testing.T) {
	pair := shimtest.Annotation
	for config, tests := range map[string]map[string]struct {
		changes []change
		live    bool
	}{
		patient: {
			"pod-live":        {[]change{pair(reportAnnotation, "live")}, true},
			"container-exit":  {[]change{pair(reportAnnotation, "live"), pair(reportAnnotation+".app", "exit")}, false},
			"container-live":  {[]change{pair(reportAnnotation, "exit"), pair(reportAnnotation+".app", "live")}, true},
			"other-container": {[]change{pair(reportAnnotation+".app2", "live")}, false},
		},
		liveConfig: {
			"pod-exit":         {[]change{pair(reportAnnotation, "exit")}, false},
			"container-alone":  {[]change{pair(reportAnnotation+".app", "exit")}, false},
			"other-alone":      {[]change{pair(reportAnnotation+".app2", "exit")}, true},
			"container-is-all": {[]change{pair(reportAnnotation, "exit"), pair(reportAnnotation+".app", "live")}, true},
		},
	} {
		n := node(t, config)
		sandbox := pod(t, n)
		for name, test := range tests {
			t.Run(name, func(t *testing.T) {
				ctx := deadline(t)
				changes := append(test.changes, pair(nameAnnotation, "app"), shimtest.Args("child-oom-sleep"), small)
				c := n.RunIn(sandbox.Shim, name, changes...)
				require.NoError(t, c.Stdio.WaitOutput(ctx, "child died"))
				waitKills(t, sandbox.Shim, name, 1)
				require.NoError(t, c.Kill(ctx, 15))
				get(t, watchWait(ctx, c), 143)
				_, err := c.Delete(ctx)
				require.NoError(t, err)
				event(t, n, deleteTopic, name)
				want := quiet
				if test.live {
					want = full
				}
				wantEvents(t, n, c, want...)
			})
		}
		endPod(t, sandbox)
	}
}

// TestLiveOnce wants one TaskOOM for each kill, and no further one for an exit that the last
// kill explains.
func TestLiveOnce(t *testing.T) {
	ctx := deadline(t)
	n := node(t, liveConfig)
	c := n.Run("twice", shimtest.Args("child-oom-sleep"), small)
	require.NoError(t, c.Stdio.WaitOutput(ctx, "child died"))
	waitKills(t, c.Shim, c.ID, 1)
	event(t, n, oomTopic, c.ID)
	require.NoError(t, startExec(ctx, c.Shim.Task(), c.ID, "e", "child-oom-exit", "3"))
	status, err := endExec(ctx, c.Shim.Task(), c.ID, "e")
	require.NoError(t, err)
	require.EqualValues(t, 3, status)
	waitKills(t, c.Shim, c.ID, 2)
	_, err = n.Events.WaitN(ctx, isOOM, 2)
	require.NoError(t, err)
	kill(t, c, 15) // sent by the node: the kill before it is the cause of the exit
	get(t, watchWait(ctx, c), 143)
	end(t, c)
	require.Len(t, n.Events.Select(isOOM), 2)
	require.Len(t, logLines(c.Shim.Logs(), "msg=verdict", "oom=true", "kills=2"), 1)
	all := topics(n.Events.All(), c.ID)
	require.Equal(t, []string{exitTopic, deleteTopic}, all[len(all)-2:])

	c = n.Run("once", shimtest.Args("hog"), small)
	get(t, watchWait(ctx, c), statusKilled)
	end(t, c)
	wantEvents(t, n, c, full...)
}
