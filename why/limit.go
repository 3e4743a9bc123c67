package why

import (
	"strings"

	"github.com/oomwitness/oomwitness/why/text"
)

// limits says whose limit was exceeded. %s is for the size of the limit.
var limits = map[string]string{
	"container":  "the container's own memory limit%s",
	"pod":        "the pod's memory limit%s",
	"ancestor":   "the memory limit%s of a cgroup above the pod",
	"node":       "the node was out of memory, no limit was exceeded",
	"cpuset":     "the memory of the NUMA nodes that the cpuset allows",
	"mempolicy":  "the memory of the NUMA nodes that the memory policy allows",
	"sysrq":      "an operator's sysrq f",
	causeUnknown: "whose limit was exceeded is not known",
}

const causeUnknown = "unknown"

// limitText says whose limit was exceeded, with the limit.
func limitText(r *Run, cause string) string {
	e := r.OOM
	said, ok := limits[cause]
	switch because, missing := r.missing("cause"); {
	case ok && cause != causeUnknown:
	case e != nil && e.LimitOf != "":
		return "the memory limit of " + e.LimitOf + ", which is neither in the container nor above the container"
	case missing:
		return limits[causeUnknown] + ", because " + because
	default:
		return limits[causeUnknown]
	}
	size := ""
	if e != nil && e.LimitBytes != nil {
		size = " of " + text.Size(*e.LimitBytes)
	}
	said = strings.Replace(said, "%s", size, 1)
	if e != nil && e.LimitOf != "" {
		said += " (" + e.LimitOf + ")"
	}
	return said
}

// usedAtOOM returns what a container used when it exceeded its own limit, and the OOM killer
// ended it; nil if the peak is known, or if that use is not. The OOM event may be of a cgroup
// nested in the container, which used less than the container. If both limits are the same,
// so is the use: the container used no less than the nested cgroup, and no more than the limit.
// An event without kinds may have a usage that was read after the kill.
func (r *Run) usedAtOOM() *uint64 {
	e, limit := r.OOM, r.Memory.Limit
	if r.Memory.Peak != nil || !r.OOMKilled() || r.cause() != "container" || limit == nil || e == nil || e.Cause != "container" {
		return nil
	}
	if e.LimitBytes == nil || *e.LimitBytes != *limit || len(e.Kinds) == 0 {
		return nil
	}
	return e.UsageBytes
}
