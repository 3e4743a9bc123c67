package notify

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/oomwitness/oomwitness/agent/internal/deliver"
	"github.com/oomwitness/oomwitness/agent/internal/events"
	"github.com/oomwitness/oomwitness/oom"
	"github.com/oomwitness/oomwitness/oom/exits"
)

func killedExit() exits.Exit {
	return exits.Exit{
		ID: "c", Boot: "boot", At: time.Unix(1000, 7), Status: 137,
		Pod:     &exits.Pod{Namespace: "shop", Name: "web-1", UID: "u", Container: "app"},
		Verdict: oom.Verdict{Ended: oom.EndedSignal, Sender: &oom.Sender{PID: 812, Comm: "early\noom", UID: 1}},
	}
}

// TestKilledMessage: the Event names the sender, and nothing else of the node.
func TestKilledMessage(t *testing.T) {
	e := killedExit()
	e.Verdict.Sender.CgroupPath = "/system.slice/earlyoom.service"
	const rest = " sent SIGKILL to process 1 of the container: no OOM kill, and no stop that the container runtime was asked for"
	require.Equal(t, `Process early\u000aoom (pid 812, uid 1)`+rest, killedMessage(&e))
	e.Verdict.Kills = 2
	require.Equal(t, `Process early\u000aoom (pid 812, uid 1)`+rest+"; before that the OOM killer ended 2 of its processes", killedMessage(&e))
	e.Verdict.Kills, e.Verdict.Sender = 0, &oom.Sender{Comm: "kworker"}
	require.Equal(t, "The kernel"+rest, killedMessage(&e))
}

// TestKilledPlan: an exit by a SIGKILL of a known sender has one task, which is the same
// after a restart. Other exits have none, and OOM events neither.
func TestKilledPlan(t *testing.T) {
	k := NewKilled(Common{})
	e := killedExit()
	one, due := k.plan(&e)
	require.True(t, due)
	require.Equal(t, deliver.Target{Namespace: "shop", Name: "web-1", UID: "u"}, one.Lane.Target)
	require.Equal(t, "app", one.Lane.Container)
	require.Equal(t, killedName, one.Lane.Action)
	again, _ := NewKilled(Common{}).plan(&e)
	require.Equal(t, one, again)
	for name, change := range map[string]func(*exits.Exit){
		"stopped":   func(e *exits.Exit) { e.Verdict.Ended = oom.EndedStopped },
		"no sender": func(e *exits.Exit) { e.Verdict.Sender = nil },
		"no pod":    func(e *exits.Exit) { e.Pod = nil },
	} {
		e := killedExit()
		change(&e)
		_, due := k.plan(&e)
		require.False(t, due, name)
	}
	require.Empty(t, k.Plan(&events.OOMEvent{Victims: make([]events.Victim, 1)}))
	require.Equal(t, ReasonKilled, k.event(corev1.ObjectReference{}, []deliver.Task{one.Task}).Reason)
}
