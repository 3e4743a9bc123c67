//go:build !no_loader

package bpf

import (
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"github.com/oomwitness/oomwitness/oom"
)

// bestTier attaches the forced tier, or the best that the kernel takes.
func (o Options) bestTier(s settings, old *oldLedger) (*attached, Status, error) {
	st := Status{ABI: *o.abi, Version: *o.version, Hierarchy: int(s.hierarchy), Loaded: true, pidNS: s.pidNS}
	tiers := []Tier{TierA, TierB, TierC}
	if o.Tier != TierAuto {
		tiers = []Tier{o.Tier}
	}
	for _, tier := range tiers {
		s.tier = tier
		a, err := tryTier(s, old.mapsFor(o, tier))
		if err == nil {
			st.Tier = tier
			return a, st, nil
		}
		st.Refused = append(st.Refused, Refusal{tier, err})
	}
	last := st.Refused[len(st.Refused)-1]
	return nil, st, fmt.Errorf("tier %v: %w", last.Tier, last.Err)
}

// tryTier attaches a tier, to maps of its own or to those given.
func tryTier(s settings, share map[string]*ebpf.Map) (*attached, error) {
	kernel, err := btf.LoadKernelSpec()
	if err != nil {
		return nil, fmt.Errorf("the kernel's BTF: %w", err)
	}
	if s.kernel, err = shapeOf(kernel); err != nil {
		return nil, err
	}
	coll, err := load(s, share)
	if err != nil {
		return nil, permission(err, capBPF, capPerfmon)
	}
	a, err := attach(coll, s)
	if err != nil {
		coll.Close()
		return nil, permission(err, capPerfmon, capBPF)
	}
	if err := pinnable(a); err != nil {
		a.close()
		return nil, err
	}
	return a, nil
}

// Trial reports whether a tier could be had on this kernel, by attaching it for a
// moment to maps of its own. The error is the reason why not.
func Trial(tier Tier) error {
	h, err := oom.FindHierarchy()
	if err != nil {
		return err
	}
	limit := new(memlock)
	defer limit.restore()
	a, err := tryTier(settings{tier: tier, hierarchy: uint32(h.Version), abi: ABI, limit: limit}, nil)
	if err != nil {
		return fmt.Errorf("tier %v: %w", tier, err)
	}
	a.close()
	return nil
}
