package otlp

import (
	"fmt"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/log"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"

	"github.com/oomwitness/oomwitness/agent/internal/events"
	"github.com/oomwitness/oomwitness/agent/internal/notify"
	"github.com/oomwitness/oomwitness/oom"
	"github.com/oomwitness/oomwitness/oom/exits"
)

// Names of the two kinds of records.
const (
	KillName = "oomwitness.oom_kill"
	ExitName = "oomwitness.container_exit"
)

// attributes are those of one record. Names are the semantic conventions'; what these do
// not have is below "oomwitness.", by the names of the agent's API.
type attributes []attribute.KeyValue

const own = "oomwitness."

func (as *attributes) add(more ...attribute.KeyValue) { *as = append(*as, more...) }

// text adds what is known: "" is nothing.
func (as *attributes) text(of func(string) attribute.KeyValue, value string) {
	if value != "" {
		as.add(of(events.Clean(value)))
	}
}

func (as *attributes) own(name, value string) { as.text(attribute.Key(own+name).String, value) }

func (as *attributes) bytes(name string, value *uint64) {
	if value != nil {
		as.add(attribute.Int64(own+name, int64(*value))) //nolint:gosec // no memory has 2^63 bytes
	}
}

func (as *attributes) container(namespace, pod, uid, name, id, image string) {
	as.text(semconv.K8SNamespaceName, namespace)
	as.text(semconv.K8SPodName, pod)
	as.text(semconv.K8SPodUID, uid)
	if pod != "" || uid != "" {
		as.text(semconv.K8SContainerName, name)
	}
	as.text(semconv.ContainerID, id)
	as.text(semconv.ContainerImageName, imageName(image))
}

// imageName returns an image's name without tag and digest, as container.image.name is.
func imageName(image string) string {
	image, _, _ = strings.Cut(image, "@")
	if tag := strings.LastIndexByte(image, ':'); tag > strings.LastIndexByte(image, '/') {
		image = image[:tag]
	}
	return image
}

func newRecord(name string, at time.Time, severity log.Severity, body string, as attributes) (r log.Record) {
	r.SetEventName(name)
	r.SetTimestamp(at)
	r.SetObservedTimestamp(time.Now())
	r.SetSeverity(severity)
	r.SetSeverityText(severity.String())
	r.SetBody(attribute.StringValue(body))
	r.AddAttributes(as...)
	return r
}

// killRecord is of one victim of an OOM event. The victims of one event have the same
// oomwitness.oom_event.id.
func killRecord(in *events.OOMEvent, v *events.Victim) log.Record {
	var as attributes
	as.add(semconv.ProcessPID(int(v.PID)), semconv.ProcessUserID(int(v.UID)))
	as.text(semconv.ProcessCommand, v.Comm)
	as.text(semconv.ProcessLinuxCgroup, v.Cgroup.Path)
	var pod events.Pod
	var container events.Container
	if v.Pod != nil {
		pod = *v.Pod
	}
	if v.Container != nil {
		container = *v.Container
	}
	as.container(pod.Namespace, pod.Name, pod.UID, container.Name, container.ID, container.Image)
	as.own("unit", v.Unit)
	as.own("oom_event.id", in.ID)
	as.own("cause", string(in.Cause))
	as.own("tier", in.Tier)
	as.bytes("limit_bytes", in.Limit)
	as.bytes("usage_bytes", in.Usage)
	if in.Domain != nil {
		as.own("domain.path", in.Domain.Path)
		as.bytes("domain.size_bytes", &in.Domain.Size)
	}
	as.add(attribute.Int(own+"trigger.pid", int(in.Trigger.PID)))
	as.own("trigger.comm", in.Trigger.Comm)
	as.add(
		attribute.Int(own+"victim.index", int(v.Index)), attribute.Bool(own+"victim.init", v.Init),
		attribute.Bool(own+"victim.shared_memory", v.SharedMemory), attribute.Bool(own+"victim.oom_group", v.OOMGroup),
		attribute.Int(own+"victim.oom_score_adj", int(v.OOMScoreAdj)),
	)
	as.bytes("victim.rss_bytes", v.Memory.RSS)
	as.bytes("victim.anon_bytes", v.Memory.Anon)
	as.bytes("victim.file_bytes", v.Memory.File)
	as.bytes("victim.shmem_bytes", v.Memory.Shmem)
	return newRecord(KillName, in.Time, log.SeverityWarn, notify.Message(in, v), as)
}

// endings say what ended a container.
var endings = map[oom.Ended]string{
	oom.EndedOOM: "The OOM killer ended the container", oom.EndedStopped: "The container was stopped",
	oom.EndedSignal: "A signal ended the container", oom.EndedExited: "The container exited",
}

// exitRecord is of one container run that has ended.
func exitRecord(x *exits.Exit) log.Record {
	var as attributes
	as.add(semconv.ProcessPID(x.Pid), semconv.ProcessExitCode(x.Status))
	if p := x.Pod; p != nil {
		as.container(p.Namespace, p.Name, p.UID, p.Container, x.ID, p.Image)
	} else {
		as.container("", "", "", "", x.ID, "")
	}
	v := &x.Verdict
	as.add(attribute.Bool(own+"oom_killed", v.OOMKilled), attribute.Int(own+"reported_status", x.Reported),
		attribute.Int64(own+"kills", int64(v.Kills))) //nolint:gosec // nothing is killed 2^63 times
	as.own("ended", string(v.Ended))
	as.own("cause", string(v.Cause))
	as.own("rule", string(v.Rule))
	as.own("evidence", v.Evidence)
	as.own("tier", v.Tier)
	as.own("init_victim", v.Init.String())
	if s := v.Sender; s != nil {
		if s.PID == 0 {
			as.add(attribute.Bool(own+"sender.kernel", true))
		} else {
			as.add(attribute.Int(own+"sender.pid", s.PID), attribute.Int(own+"sender.uid", int(s.UID)))
		}
		as.own("sender.comm", s.Comm)
		as.own("sender.cgroup", s.CgroupPath)
	}
	if m := x.Memory; m != nil {
		as.bytes("peak_bytes", m.Peak)
		as.bytes("limit_bytes", m.Limit)
	}
	severity := log.SeverityInfo
	if v.OOMKilled || v.Ended == oom.EndedSignal {
		severity = log.SeverityWarn
	}
	return newRecord(ExitName, x.At, severity, fmt.Sprintf("%s: status %d", endings[v.Ended], x.Status), as)
}
