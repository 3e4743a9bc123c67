package preflight

import (
	"errors"
	"fmt"
	"time"

	"github.com/oomwitness/oomwitness/bpf"
)

// ledger reports whether the ledger records kills, and whether the record is complete.
func ledger(meta bpf.Meta, err error) Finding {
	const (
		name = "ledger"
		load = "oomwitness load"
	)
	switch {
	case errors.Is(err, bpf.ErrABI):
		return bad(Warn, name, load+" replaces an older one; a later one takes the oomwitness that loaded it, or oomwitness unload first",
			"%v: verdicts come from the counters", err)
	case errors.Is(err, bpf.ErrRetired):
		return bad(Warn, name, load, "damaged, or being replaced: %v", err)
	case errors.Is(err, bpf.ErrAbsent):
		return bad(Warn, name, load+" (the shim does so too, with its first container)", "not loaded: verdicts come from the counters")
	case errors.Is(err, bpf.ErrPermission):
		return bad(Warn, name, "run this command as root", "cannot be read: %v", err)
	case err != nil:
		return bad(Warn, name, load, "cannot be read: %v", err)
	}
	text := fmt.Sprintf("loaded for %s: tier %v, ABI %d, version %d, cgroup v%d; seen %d",
		meta.Since().Round(time.Second), meta.Tier, meta.ABI, meta.Version, meta.Hierarchy, meta.Victims)
	if meta.LostTask+meta.LostCgroup > 0 {
		return bad(Warn, name, "report this: the maps ought to take every record",
			"%s, lost %d by process and %d by cgroup\nthe verdicts of these victims come from the counters", text, meta.LostTask, meta.LostCgroup)
	}
	recorded := fmt.Sprintf("victims of the OOM killer since the load: %d, all on record", meta.Victims)
	if meta.LostRing > 0 {
		return ok(name, "%s, lost none; %d found the ring full\n%s\nthe ring is for trace and the agent alone: %d victims came while neither read the ring fast enough",
			text, meta.LostRing, recorded, meta.LostRing)
	}
	return ok(name, "%s, lost none\n%s", text, recorded)
}

// offer is what the kernel offers for each tier, judged by the names of its functions.
type offer struct{ functions, fentry, kprobes, tracepoint, known bool }

func (c Checker) offer() offer {
	symbols := c.symbols("oom_kill_process", "__oom_kill_process", "__bpf_trace_mark_victim",
		"register_ftrace_direct", "register_kprobe")
	functions := symbols["oom_kill_process"] && symbols["__oom_kill_process"]
	return offer{
		functions:  functions,
		fentry:     functions && symbols["register_ftrace_direct"],
		kprobes:    functions && symbols["register_kprobe"],
		tracepoint: symbols["__bpf_trace_mark_victim"],
		known:      symbols != nil,
	}
}

// hooks returns the tier that the kernel can support. It attaches nothing.
func (c Checker) hooks() Finding {
	const name = "hooks"
	switch o := c.offer(); {
	case !o.known:
		return bad(Warn, name, "mount /proc, and run this command as root", "cannot read /proc/kallsyms")
	case !o.tracepoint:
		return bad(Warn, name, "use a kernel with CONFIG_BPF_EVENTS", "no raw tracepoint oom/mark_victim: counters only (tier D)")
	case o.fentry && o.kprobes:
		return ok(name, "fentry, kprobes and raw tracepoints are there (tier A, or B if fentry is refused)")
	case o.fentry:
		return ok(name, "fentry and raw tracepoints are there, no kprobes (tier A, or C if fentry is refused)")
	case o.kprobes:
		return ok(name, "kprobes and raw tracepoints are there, no fentry (tier B)")
	}
	return ok(name, "raw tracepoints only (tier C: the limit that fired comes from the counters)")
}

// hooksInForce returns how the loaded ledger is attached, and why not by a better tier.
func (c Checker) hooksInForce(tier bpf.Tier) Finding {
	const name = "hooks"
	text := map[bpf.Tier]string{
		bpf.TierA: "attached by fentry and raw tracepoints",
		bpf.TierB: "attached by kprobes and raw tracepoints",
		bpf.TierC: "attached by raw tracepoints alone, so that the limit that fired comes from the counters",
	}[tier]
	text = fmt.Sprintf("tier %v in force: %s", tier, text)
	o := c.offer()
	if tier == bpf.TierA || !o.known {
		return ok(name, "%s", text)
	}
	why := "\nnot tier A: " + absent(o.fentry, o.functions, "fentry (register_ftrace_direct)", bpf.TierA)
	if tier == bpf.TierC {
		why += "\nnot tier B: " + absent(o.kprobes, o.functions, "kprobes (register_kprobe)", bpf.TierB)
	}
	return ok(name, "%s%s", text, why)
}

// absent returns what the kernel lacks for a tier.
func absent(has, functions bool, what string, tier bpf.Tier) string {
	switch {
	case has:
		return fmt.Sprintf("refused or not asked for, oomwitness load --tier %v says which", tier)
	case !functions:
		return "this kernel does not show the OOM killer's functions"
	default:
		return "this kernel has no " + what
	}
}
