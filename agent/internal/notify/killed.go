package notify

import (
	"context"
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"
	"time"

	"github.com/oomwitness/oomwitness/agent/internal/deliver"
	"github.com/oomwitness/oomwitness/agent/internal/events"
	"github.com/oomwitness/oomwitness/oom"
	"github.com/oomwitness/oomwitness/oom/exits"
)

const killedName = "report-killed"

// Killed is the action that makes Events of containers whose init a SIGKILL has ended
// that neither the OOM killer nor a runtime has sent: on the pod, with the sender. Its
// Events are made as a Reporter's are.
type Killed struct{ *Reporter }

var _ deliver.Action = (*Killed)(nil)

// NewKilled returns a Killed.
func NewKilled(c Common) *Killed {
	r := NewReporter(c)
	r.reason = ReasonKilled
	r.now = func() uint64 { return uint64(time.Now().UnixNano()) }
	return &Killed{r}
}

// Name returns "report-killed".
func (k *Killed) Name() string { return killedName }

// Plan has no task for an OOM event.
func (k *Killed) Plan(*events.OOMEvent) []deliver.Item { return nil }

// Count counts nothing: the metrics are of OOM events.
func (k *Killed) Count(deliver.Stage, deliver.Reason) {}

// Do creates the lane's Event, or has it count further exits.
func (k *Killed) Do(ctx context.Context, lane deliver.Lane, tasks []deliver.Task) error {
	return k.do(ctx, lane, tasks)
}

// plan returns the task for an exit, false where none is due.
func (k *Killed) plan(e *exits.Exit) (item deliver.Item, due bool) {
	v := &e.Verdict
	if v.Ended != oom.EndedSignal || v.Sender == nil || e.Pod == nil || e.Pod.UID == "" {
		return deliver.Item{}, false
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(e.Boot))
	at := uint64(e.At.UnixNano())
	return deliver.Item{
		Lane: deliver.Lane{
			Action: killedName, Target: deliver.Target{Namespace: e.Pod.Namespace, Name: e.Pod.Name, UID: e.Pod.UID},
			Container: e.Pod.Container,
			Group:     fmt.Sprintf("%016x/sigkill/%s", h.Sum64(), strconv.FormatUint(at/uint64(window), 36)),
		},
		Task: deliver.Task{
			ID: fmt.Sprintf("killed-%s-%d", e.ID, at), BootNS: at, Time: e.At, Cause: string(v.Ended), Text: killedMessage(e),
		},
	}, true
}

// killedMessage says who has sent the SIGKILL. The sender's cgroup is the node's own.
func killedMessage(e *exits.Exit) string {
	var out strings.Builder
	if s := e.Verdict.Sender; s.PID == 0 {
		out.WriteString("The kernel")
	} else {
		fmt.Fprintf(&out, "Process %s (pid %d, uid %d)", events.Clean(s.Comm), s.PID, s.UID)
	}
	out.WriteString(" sent SIGKILL to process 1 of the container: no OOM kill, and no stop that the container runtime was asked for")
	if n := e.Verdict.Kills; n > 0 {
		fmt.Fprintf(&out, "; before that the OOM killer ended %d of its processes", n)
	}
	return short(out.String(), maxMessage)
}
