package agent

import (
	"fmt"
	"strings"

	"github.com/sirupsen/logrus"

	"github.com/oomwitness/oomwitness/agent/internal/events"
	"github.com/oomwitness/oomwitness/oom"
	"github.com/oomwitness/oomwitness/oom/exits"
)

// logOOMEvent writes one line for the OOM event with all its victims.
func logOOMEvent(log *logrus.Logger, in *events.OOMEvent) {
	fields := logrus.Fields{
		"id": in.ID, "at": in.Time, "event": in.Event, "cause": string(in.Cause),
		"tier": in.Tier, "trigger": process{in.Trigger}, "victims": victims(in.Victims),
	}
	if in.Domain != nil {
		fields["constraint"], fields["domain"] = in.Domain.Constraint, in.Domain.Path
		fields["domain_bytes"] = size(in.Domain.Size)
	}
	if in.Limit != nil {
		fields["limit_bytes"] = size(*in.Limit)
	}
	if in.Usage != nil {
		fields["usage_bytes"] = size(*in.Usage)
	}
	if in.Memory != nil {
		fields["memory"] = filled{in.Memory}
	}
	log.WithFields(fields).Warn(events.LogMessage)
}

// logKilled writes one line for a container whose init a SIGKILL has ended that neither the
// OOM killer nor a runtime has sent.
func logKilled(log *logrus.Logger, e *exits.Exit) {
	s := e.Verdict.Sender
	if e.Verdict.Ended != oom.EndedSignal || s == nil {
		return
	}
	fields := logrus.Fields{"container": events.Clean(e.ID), "at": e.At, "pid": e.Pid, "sender": events.Clean(s.String())}
	if p := e.Pod; p != nil {
		fields["pod"], fields["name"] = events.Clean(or(p.Namespace+"/"+p.Name, "/", p.UID)), events.Clean(p.Container)
	}
	log.WithFields(fields).Warn(events.KilledMessage)
}

// The fields' types are numbers and objects in JSON, and short in text.
type (
	size    uint64
	victims []events.Victim
	process struct{ events.Process }
	filled  struct{ *oom.Memory }
)

func (s size) String() string { return events.Size(uint64(s)) }

func (p process) String() string { return fmt.Sprintf("%s[%d]", events.Clean(p.Comm), p.PID) }

func (vs victims) String() string {
	list := make([]string, 0, len(vs))
	for i := range vs {
		list = append(list, victimText(&vs[i]))
	}
	return strings.Join(list, "; ")
}

// victimText is such as java[123] rss=61.2 MiB pod=shop/web container=app.
func victimText(v *events.Victim) string {
	text := process{events.Process{PID: v.PID, Comm: v.Comm}}.String()
	if v.Memory.RSS != nil {
		text += " rss=" + events.Size(*v.Memory.RSS)
	}
	if p := v.Pod; p != nil {
		text += " pod=" + events.Clean(or(p.Namespace+"/"+p.Name, "/", p.UID))
	}
	if c := v.Container; c != nil {
		text += " container=" + events.Clean(or(c.Name, "", c.ID))
		if c.Image != "" {
			text += " image=" + events.Clean(c.Image)
		}
	}
	if v.Unit != "" {
		text += " unit=" + events.Clean(v.Unit)
	}
	if v.Container == nil && v.Unit == "" {
		text += " cgroup=" + events.Clean(or(v.Cgroup.Path, "", v.Cgroup.Ancestor))
	}
	return text
}

// or returns other if text is none, else text.
func or(text, none, other string) string {
	if text == none {
		return other
	}
	return text
}
