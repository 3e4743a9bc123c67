package events

import (
	"github.com/oomwitness/oomwitness/why"
	"github.com/oomwitness/oomwitness/why/collect"
)

// Why returns the OOM event as documents of package why have it.
func (in *OOMEvent) Why() collect.Event {
	e := collect.Event{OOMEvent: why.OOMEvent{
		ID: in.ID, Time: in.Time, Cause: string(in.Cause), Tier: in.Tier, LimitBytes: in.Limit, UsageBytes: in.Usage,
		Killed: len(in.Victims),
	}}
	collect.AddMemory(&e.OOMEvent, in.Memory)
	if d := in.Domain; d != nil && d.ID != in.First().Cgroup.ID {
		e.LimitOf = d.Path
	}
	for i := range in.Victims {
		v := &in.Victims[i]
		e.Victims = append(e.Victims, why.Victim{
			PID: int(v.PID), Comm: v.Comm, Init: v.Init, SharedMemory: v.SharedMemory, OOMScoreAdj: int(v.OOMScoreAdj),
			RSS: v.Memory.RSS, Anon: v.Memory.Anon, File: v.Memory.File, Shmem: v.Memory.Shmem,
		})
		var of collect.Ref
		if c := v.Container; c != nil {
			of.ID, of.Name = c.ID, c.Name
		}
		if p := v.Pod; p != nil {
			of.Pod = &why.Pod{Namespace: p.Namespace, Name: p.Name, UID: p.UID}
		}
		e.Of = append(e.Of, of)
	}
	return e
}
