package why

import (
	"fmt"

	"github.com/oomwitness/oomwitness/why/text"
)

// Names of the kinds of memory, as Kind.Name has them.
const (
	KindAnon   = "anonymous"
	KindFile   = "page cache"
	KindShmem  = "shared memory"
	KindKernel = "kernel"
	KindSwap   = "swap"
)

// Advise sets what follows from the rest of a run: what is to be done, and what the container
// used at its OOM kill.
func (r *Run) Advise() {
	r.Advice, r.Memory.UsedAtOOM = nil, r.usedAtOOM()
	switch {
	case r.Running:
		return
	case r.OOMKilled():
		r.Advice = r.adviseOOM()
	case r.Verdict == nil:
		return
	case r.Verdict.Ended == EndedStopped:
		r.Advice = r.adviseStopped()
	case r.Verdict.Ended == EndedSignal:
		r.Advice = r.adviseSignal()
	case r.Verdict.Ended == EndedExited && r.Status != nil && *r.Status != 0:
		r.Advice = []string{"The program ended by itself: read its log (" + readLog + ")."}
	}
	if r.OOM != nil && !r.OOMKilled() {
		r.Advice = append(r.Advice, r.adviseSurvived())
	}
}

// readLog is the command for the log of a program that has ended.
const readLog = "kubectl logs, after a restart with --previous"

// adviseSurvived is for a run that ended for another reason than an OOM kill in the
// container.
func (r *Run) adviseSurvived() string {
	what := "A process of the container"
	if len(r.OOM.Victims) > 0 && r.OOM.Victims[0].Lineage == "exec" {
		what = "A process of an exec, such as a probe or kubectl exec,"
	}
	return what + " was OOM-killed before the end, and the memory may be too small for all processes together."
}

func (r *Run) adviseOOM() (all []string) {
	switch cause := r.cause(); {
	case cause == causeUnknown && r.OOM != nil && r.OOM.LimitOf != "":
		all = append(all, "The victim was in a cgroup of its own: raise the limit of that cgroup, or leave the process in the container's cgroup.")
	case cause == "container":
		all = append(all, r.adviseLimit())
	case cause == "pod":
		all = append(all, "The containers of the pod together reached the pod's limit. Raise the limit of the pod, or lower what its largest container uses.")
	case cause == "ancestor":
		all = append(all, "A cgroup above the pod was full, such as kubepods. Compare kubelet's reserved memory with the node's, and the pods' requests with what the pods use.")
	case cause == "node":
		all = append(all, "The node was full, and this container did not exceed a limit. Set requests near what the pods of the node use, so that the scheduler spreads them.")
	case cause == "cpuset" || cause == "mempolicy":
		all = append(all, "The allowed NUMA nodes were full: allow more of them, or move the pod.")
	case cause == "sysrq":
		all = append(all, "An operator asked the kernel for this kill (sysrq f). There is nothing to change in the pod.")
	default:
		all = append(all, r.adviseUnknown()...)
	}
	if r.largestKind() == KindShmem {
		all = append(all, "Most of the memory was files in memory (tmpfs): bound emptyDir volumes of medium Memory by sizeLimit.")
	}
	if r.Verdict != nil && r.Verdict.InitVictim == "no" {
		all = append(all, `The OOM killer chose one process and left the others. With the annotation oomwitness.io/oom-group: "true" all end together.`)
	}
	return all
}

// adviseUnknown is for an OOM kill by a limit that is not known.
func (r *Run) adviseUnknown() (all []string) {
	if p, l := r.Memory.Peak, r.Memory.Limit; p != nil && l != nil && *p >= *l/100*99 {
		all = append(all, "The peak was at the container's own limit, so most likely that limit was reached. "+r.adviseLimit())
	}
	switch v := r.Verdict; {
	case v != nil && v.Evidence == EvidenceStatus:
		all = append(all, "The status of a pod does not say whose limit was exceeded. An agent with a ledger on the node does (kubectl oomwitness nodes says what is missing).")
	case v == nil || v.Evidence != "ledger" || v.Tier == "C":
		all = append(all, "Load a ledger of tier A or B: such a ledger records whose limit was exceeded (oomwitness check says what is missing).")
	}
	return all
}

// cause returns whose limit was exceeded, "" if it is not known.
func (r *Run) cause() string {
	if r.Verdict != nil && r.Verdict.Cause != "" {
		return r.Verdict.Cause
	}
	if r.OOM != nil {
		return r.OOM.Cause
	}
	return ""
}

// adviseLimit is for a container that reached its own limit.
func (r *Run) adviseLimit() string {
	limit := r.Memory.Limit
	if limit == nil && r.OOM != nil {
		limit = r.OOM.LimitBytes
	}
	if limit == nil {
		return "Raise the container's memory limit, or lower what the program uses."
	}
	return fmt.Sprintf("Raise the container's memory limit above %s, or have the program use less (for a JVM, Go or Node.js set its own limit below the container's).",
		text.Size(*limit))
}

// largestKind returns the name of the kind that is more than half of the memory.
func (r *Run) largestKind() string {
	if r.OOM == nil {
		return ""
	}
	var total uint64
	for _, k := range r.OOM.Kinds {
		total += k.Bytes
	}
	for _, k := range r.OOM.Kinds {
		if k.Bytes > total/2 {
			return k.Name
		}
	}
	return ""
}

func (r *Run) adviseStopped() []string {
	const stopped = "Find out who had the container stopped: a failed liveness probe, an eviction, a rollout or a deletion (kubectl describe pod)."
	if r.Status != nil && *r.Status == statusKilled && len(r.Signals) > 1 {
		return []string{stopped, "The program had not ended when the grace period was over: raise terminationGracePeriodSeconds, or have the program end on SIGTERM."}
	}
	return []string{stopped}
}

func (r *Run) adviseSignal() []string {
	if r.Sender != nil && r.Sender.Kernel {
		return []string{"The kernel itself sent SIGKILL: read the kernel's log on the node (journalctl -k)."}
	}
	if r.Sender != nil {
		return []string{fmt.Sprintf("Find out why %s sends signals to containers.", process(text.Clean(r.Sender.Comm), r.Sender.PID))}
	}
	if r.Status != nil && *r.Status != statusKilled {
		return []string{"The program ended itself by a signal, such as a crash: read its log (" + readLog + ")."}
	}
	return []string{"Look for who may send SIGKILL on the node: an administrator, a watchdog, the program itself."}
}
