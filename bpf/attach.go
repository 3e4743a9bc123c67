//go:build !no_loader

package bpf

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// attached is a tier at work, not pinned yet.
type attached struct {
	coll  *ebpf.Collection
	links map[string]link.Link // by pin name
}

// close lets go of programs, maps and links. What is pinned goes on.
func (a *attached) close() {
	for _, l := range a.links {
		discard(l)
	}
	if a.coll != nil {
		a.coll.Close()
	}
}

// settings are the programs' constants.
type settings struct {
	tier      Tier
	hierarchy uint32
	abi       uint32
	pidNS     uint32 // 0 for the first
	limit     *memlock
	kernel    kernelShape
}

// kernelShape is what the programs need to know of a kernel.
type kernelShape struct {
	// markVictim is the program for the form of mark_victim that the kernel has.
	markVictim string
	// scan is true if the kernel has the function that looks at each candidate.
	scan bool
	// mapped says that a cgroup's statistics are found by a table, and addresses are those
	// of the kernel's variables.
	mapped    bool
	addresses map[string]uint64
}

// shapeOf looks at the kernel's BTF and symbols, and never at its release.
func shapeOf(kernel *btf.Spec) (kernelShape, error) {
	var (
		s    kernelShape
		scan *btf.Func
		err  error
	)
	if s.markVictim, err = markVictimShape(kernel); err != nil {
		return s, err
	}
	s.scan = kernel.TypeByName(scanFunction, &scan) == nil
	s.mapped = statsMapped(kernel)
	s.addresses = addresses()
	return s, nil
}

// constants are the values of the programs' constants.
func (s settings) constants() map[string]any {
	mapped := uint32(0)
	if s.kernel.mapped {
		mapped = 1
	}
	all := map[string]any{
		"tier": uint32(s.tier), "hierarchy": s.hierarchy, "abi": s.abi, "stats_mapped": mapped,
		"pid_ns": cmp.Or(s.pidNS, firstPIDNamespace), "page_size": uint64(os.Getpagesize()),
	}
	for name, address := range s.kernel.addresses {
		all[name] = address
	}
	return all
}

// tierSpec is the collection of one tier: its own programs, all maps, and the
// constants.
func tierSpec(s settings) (*ebpf.CollectionSpec, error) {
	spec, err := loadLedger()
	if err != nil {
		return nil, fmt.Errorf("read the embedded programs: %w", err)
	}
	wanted := []string{carryProgram}
	for _, h := range s.hooks() {
		wanted = append(wanted, h.program)
	}
	maps.DeleteFunc(spec.Programs, func(name string, _ *ebpf.ProgramSpec) bool {
		return !slices.Contains(wanted, name)
	})
	for name, value := range s.constants() {
		if err := spec.Variables[name].Set(value); err != nil {
			return nil, fmt.Errorf("set %s of the programs: %w", name, err)
		}
	}
	return spec, nil
}

// load loads a tier's programs, over the maps given or new ones. The layout of
// flights is not fixed by the ABI: those of another one are left alone.
func load(s settings, shared map[string]*ebpf.Map) (*ebpf.Collection, error) {
	spec, err := tierSpec(s)
	if err != nil {
		return nil, err
	}
	if f, ok := shared[mapFlights]; ok && spec.Maps[mapFlights].Compatible(f) != nil {
		shared = maps.Clone(shared)
		delete(shared, mapFlights)
	}
	opts := ebpf.CollectionOptions{MapReplacements: shared}
	coll, err := ebpf.NewCollectionWithOptions(spec, opts)
	if !errors.Is(err, unix.EPERM) {
		return coll, err
	}
	if s.limit.lift() {
		return ebpf.NewCollectionWithOptions(spec, opts)
	}
	if len(missingCaps(capBPF, capPerfmon)) == 0 && s.limit.old.Cur != unix.RLIM_INFINITY {
		err = fmt.Errorf("RLIMIT_MEMLOCK is %d: %w", s.limit.old.Cur, permission(err, capSysResource))
	}
	return nil, err
}

// memlock is RLIMIT_MEMLOCK, against which kernels before 5.11 count maps and
// programs.
type memlock struct {
	old    unix.Rlimit
	lifted bool
}

// lift takes the limit away until restore, and returns false where there was none
// or it may not.
func (m *memlock) lift() bool {
	none := unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}
	if err := unix.Prlimit(0, unix.RLIMIT_MEMLOCK, nil, &m.old); err != nil || m.old == none || m.lifted {
		return false
	}
	m.lifted = unix.Prlimit(0, unix.RLIMIT_MEMLOCK, &none, nil) == nil
	return m.lifted
}

// restore sets it as it was. What is pinned is not counted again.
func (m *memlock) restore() {
	if m.lifted {
		_ = unix.Prlimit(0, unix.RLIMIT_MEMLOCK, &m.old, nil) // a lower limit is always allowed
	}
}

// attach attaches a tier's programs, all or none.
func attach(coll *ebpf.Collection, s settings) (*attached, error) {
	a := &attached{coll: coll, links: map[string]link.Link{}}
	for _, h := range s.hooks() {
		l, err := h.attach(coll.Programs[h.program])
		if err != nil {
			a.coll = nil // the caller's
			a.close()
			return nil, fmt.Errorf("attach %s to %s: %w", h.program, h.symbol, err)
		}
		a.links[h.pinName()] = l
	}
	return a, nil
}

func (h hook) attach(p *ebpf.Program) (link.Link, error) {
	switch h.kind {
	case hookTracing:
		return link.AttachTracing(link.TracingOptions{Program: p})
	case hookKprobe:
		l, err := link.Kprobe(h.symbol, p, nil)
		return l, perfPermission(err)
	case hookKretprobe:
		l, err := link.Kretprobe(h.symbol, p, nil)
		return l, perfPermission(err)
	default:
		return link.AttachRawTracepoint(link.RawTracepointOptions{Name: h.symbol, Program: p})
	}
}

// Programs for the two shapes of mark_victim, and the one that is never
// attached.
const (
	markVictimPID  = "mark_victim_pid"
	markVictimTask = "mark_victim_task"
	carryProgram   = "carry"
)

// markVictimShape looks at the kernel's BTF, and never at its release: the
// newer form of mark_victim(pid), mark_victim(task, uid), was backported.
func markVictimShape(kernel *btf.Spec) (string, error) {
	var td *btf.Typedef
	if err := kernel.TypeByName("btf_trace_mark_victim", &td); err != nil {
		return "", fmt.Errorf("arguments of mark_victim: %w", err)
	}
	ptr, ok := td.Type.(*btf.Pointer)
	if !ok {
		return "", fmt.Errorf("arguments of mark_victim: %v is no pointer", td.Type)
	}
	proto, ok := ptr.Target.(*btf.FuncProto)
	if !ok || len(proto.Params) < 2 {
		return "", fmt.Errorf("arguments of mark_victim: %v", ptr.Target)
	}
	// Params[0] is the tracepoint's own data.
	switch t := btf.UnderlyingType(proto.Params[1].Type).(type) {
	case *btf.Int:
		return markVictimPID, nil
	case *btf.Pointer:
		return markVictimTask, nil
	default:
		return "", fmt.Errorf("arguments of mark_victim: %v is not known", t)
	}
}

// scanFunction is what the OOM killer calls for each process that it looks at.
const scanFunction = "oom_evaluate_task"

// hooks are those of the tier, and where the kernel has the function the one that looks at
// candidates: without it the rest is as good as ever.
func (s settings) hooks() []hook {
	hooks := s.tier.hooks(s.kernel.markVictim)
	switch {
	case s.kernel.scan && s.tier == TierA:
		return append(hooks, hook{"candidate_fentry", hookTracing, scanFunction})
	case s.kernel.scan && s.tier == TierB:
		return append(hooks, hook{"candidate_kprobe", hookKprobe, scanFunction})
	default:
		return hooks
	}
}
