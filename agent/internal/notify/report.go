package notify

import (
	"context"
	"fmt"
	"hash/fnv"
	"strconv"
	"time"

	"github.com/sirupsen/logrus"
	"k8s.io/utils/lru"

	"github.com/oomwitness/oomwitness/agent/internal/deliver"
	"github.com/oomwitness/oomwitness/agent/internal/events"
	"github.com/oomwitness/oomwitness/bpf"
)

const (
	reportName = "report"
	// window is the time whose OOM events have one Event.
	window = 10 * time.Minute
	// reportPatience outlasts an API server that is away while it is upgraded.
	reportPatience = 30 * time.Minute
	// maxRemembered bounds what is remembered of Events and of pods' rates.
	maxRemembered = 1024
)

// Reporter is the action that makes Events of OOM kills: on the pod of the victims, and on the
// node for victims in no pod.
//
// # Reason
//
// The reason is OOMKilling, the word that kubelet's and the node problem detector's
// Events have on the node, and that people and alerts look for. OOMKilled, which a
// container's status has, would be wrong: many a victim is a child whose container
// goes on.
//
// # One Event for many kills
//
// There is one Event for the OOM events of one pod, container and cause in ten
// minutes, the time in which client-go's EventCorrelator aggregates. For victims in no
// pod, a unit or user of the node stands for the pod. Its count, last time and message
// are those of the OOM events up to now. An OOM event that
// comes later changes it. Of one pod, unit or user at most 25 calls are made at
// once, as client-go has it, and then one in 30 seconds; what comes meanwhile is
// counted by the next one. So a storm of N OOM events over P pods costs at most
// min(N, P*(25 + minutes*2)) Events created or changed, nothing is left uncounted
// (client-go drops what is over its limit), and an Event is late by 30 seconds at
// most for this reason.
//
// # Never twice
//
// An agent may die between the API server's answer and its note of it, and then
// reports again. The name of the Event follows from boot, pod or owner, container,
// cause and the ten minutes; the Event names the OOM events that it counts; and it is changed
// only as it was read. So an OOM event is counted once, whatever died when, as long
// as the API server keeps the Event (an hour by default) and no more than 64 OOM
// events of the same Event came between: one that is older than the newest 64 is
// taken for reported. Who may make Events in the namespace may have made one of that
// name: then the Event has a random name.
//
// client-go's EventBroadcaster can do neither: its counts and names live in memory.
type Reporter struct {
	Common
	// rates limits the calls of one pod, or of one unit or user of the node; events is
	// what the Events of a lane looked like when they were last seen. Both are safe for concurrent
	// use, and what they hold is used by one worker at a time.
	rates, events *lru.Cache
	reason        string // of the Events
	// now returns the time by the clock of deliver.Task.BootNS.
	now func() uint64
}

var _ deliver.Action = (*Reporter)(nil)

// NewReporter returns a Reporter.
func NewReporter(c Common) *Reporter {
	return &Reporter{Common: c, rates: lru.New(maxRemembered), events: lru.New(maxRemembered), reason: Reason, now: bpf.BootNow}
}

// Name returns "report".
func (r *Reporter) Name() string { return reportName }

// Patience is half an hour.
func (r *Reporter) Patience() time.Duration { return reportPatience }

// Done is deliver.Reported.
func (r *Reporter) Done() deliver.Stage { return deliver.Reported }

// Count counts an OOM event.
func (r *Reporter) Count(stage deliver.Stage, reason deliver.Reason) {
	r.Counter.Event(stage, reason)
}

// Plan has a task for each container with victims, and one for each unit or user of the
// node with victims in no pod.
func (r *Reporter) Plan(in *events.OOMEvent) []deliver.Item {
	var items []deliver.Item
	at := map[deliver.Lane]int{}
	victims := map[deliver.Lane][]events.Victim{}
	for _, v := range in.Victims {
		lane := r.lane(in, v)
		if _, ok := at[lane]; !ok {
			at[lane] = len(items)
			items = append(items, deliver.Item{Lane: lane})
		}
		victims[lane] = append(victims[lane], v)
	}
	for lane, i := range at {
		items[i].Task = deliver.Task{
			ID: in.ID, BootNS: in.BootNS, Time: in.Time, Cause: string(in.Cause), Text: message(in, victims[lane]),
		}
	}
	return items
}

// lane is that of one victim. Two of its groups are two Events.
func (r *Reporter) lane(in *events.OOMEvent, v events.Victim) deliver.Lane {
	lane := deliver.Lane{Action: reportName, Group: group(in)}
	if v.Pod != nil && v.Pod.UID != "" {
		lane.Target = deliver.Target{Namespace: v.Pod.Namespace, Name: v.Pod.Name, UID: v.Pod.UID}
		if v.Container != nil {
			lane.Container = v.Container.Name
		}
	} else {
		lane.Owner = events.OwnerOfVictim(&v).Name
	}
	return lane
}

// group is the boot, the cause and the window.
func group(in *events.OOMEvent) string {
	h := fnv.New64a()
	_, _ = h.Write([]byte(boot(in.ID)))
	return fmt.Sprintf("%016x/%s/%s", h.Sum64(), in.Cause, strconv.FormatUint(in.BootNS/uint64(window), 36))
}

// boot is the boot ID at the beginning of an OOM event's ID.
func boot(id string) string {
	const bootID = len("00000000-0000-0000-0000-000000000000")
	return id[:min(len(id), bootID)]
}

// Do creates the lane's Event, or has it count further OOM events.
func (r *Reporter) Do(ctx context.Context, lane deliver.Lane, tasks []deliver.Task) error {
	if err := r.do(ctx, lane, tasks); err != nil {
		return err
	}
	for _, task := range tasks {
		r.Counter.ReportDelay(time.Since(task.Time))
	}
	return nil
}

func (r *Reporter) do(ctx context.Context, lane deliver.Lane, tasks []deliver.Task) error {
	object, err := r.object(lane, tasks)
	if err != nil {
		return err
	}
	if r.DryRun {
		for _, task := range tasks {
			r.Log.WithFields(logrus.Fields{
				"kind": object.Kind, "namespace": object.Namespace, "name": object.Name, "oom_event": task.ID, "message": task.Text,
			}).Info("dry run: would make an Event")
		}
		return &deliver.SkipError{Reason: deliver.DryRun}
	}
	if wait := r.wait(lane); wait > 0 {
		return &deliver.WaitError{After: wait}
	}
	return r.report(ctx, lane, object, tasks)
}
