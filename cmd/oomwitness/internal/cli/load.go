package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/oomwitness/oomwitness/bpf"
	whycli "github.com/oomwitness/oomwitness/why/cli"
)

func newLoad(k kernel) *cobra.Command {
	var (
		p            pins
		tier, output string
		ownPIDs      bool
	)
	cmd := &cobra.Command{
		Use:   "load",
		Short: "Load the ledger, the kernel's own record of OOM kills",
		Long: `Load the ledger, the kernel's own record of OOM kills, or upgrade it.

The ledger is a few small BPF programs. The programs record every victim of the OOM killer:
the process, its cgroup, and whose limit was exceeded. Programs and maps are pinned on the BPF
file system. So the programs need no process, and record until "oomwitness unload" or a
reboot. Without the ledger only the cgroups' own counters are known, and the counters go
away with the cgroup.

A second load changes nothing. load replaces the ledger of an older oomwitness without
missing a kill, and containers go on. If there is no ledger, the shim's start runs load.

Tiers, by what the kernel allows:

  A   everything: fentry
  B   everything: kprobes, if the kernel refuses fentry
  C   the victims alone, by raw tracepoints: not whose limit was exceeded

--tier auto keeps the tier of a loaded ledger, else takes the best tier. --tier A takes
the tier A or fails. load needs CAP_BPF and CAP_PERFMON, or CAP_SYS_ADMIN.

-o json prints one object with stable fields. action is loaded, replaced or unchanged.
better lists the better tiers, with the reason of each refusal:

  {"schema": 1, "action": "loaded", "tier": "B", "abi": 1, "version": 1,
   "cgroup": 2, "dir": "` + bpf.DefaultDir + `",
   "better": [{"tier": "A", "available": false, "why": "..."}]}`,
		Example: `  oomwitness load
  oomwitness load --tier A         # or say why not`,
		Args: whycli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runLoad(cmd, k, p, tier, output, ownPIDs)
		},
	}
	outputFlag(cmd, &output)
	cmd.Flags().StringVar(&tier, "tier", "auto", "tier of the programs: auto, A, B or C")
	whycli.CompleteOneOf(cmd, "tier", []string{"auto", "A", "B", "C"})
	cmd.Flags().BoolVar(&ownPIDs, "own-pids", false, "record the PIDs of this process's PID namespace: for a node that is a container itself")
	p.add(cmd)
	return cmd
}

func runLoad(cmd *cobra.Command, k kernel, p pins, tier, output string, ownPIDs bool) error {
	if err := errors.Join(checkOutput(output), p.check()); err != nil {
		return err
	}
	want, err := bpf.ParseTier(tier)
	if err != nil || tier == "" {
		return fmt.Errorf("--tier %q: allowed are auto, A, B and C", tier)
	}
	_, before := k.meta(p.dir)
	st, err := k.load(bpf.Options{Dir: p.dir, LockDir: p.lockDir, Tier: want, OwnPIDs: ownPIDs})
	if err != nil {
		return p.misplaced(withAdvice(refused(st, err)))
	}
	l := loaded{
		Schema: 1, Action: actionOf(st, before), Tier: st.Tier.String(), ABI: st.ABI, Version: st.Version,
		Cgroup: st.Hierarchy, Dir: p.dir, Better: k.better(st),
	}
	if output == "json" {
		return json.NewEncoder(cmd.OutOrStdout()).Encode(l)
	}
	l.write(cmd.OutOrStdout())
	return nil
}

// refused adds the reasons for the better tiers, where err has the reason of the last one. If
// the process lacks a permission, one reason is enough.
func refused(st bpf.Status, err error) error {
	if !slices.ContainsFunc(st.Refused, func(r bpf.Refusal) bool { return !errors.Is(r.Err, bpf.ErrPermission) }) {
		return err
	}
	for i, r := range slices.Backward(st.Refused) {
		if i < len(st.Refused)-1 {
			err = fmt.Errorf("%w; tier %v: %w", err, r.Tier, r.Err)
		}
	}
	return err
}

// loaded describes what load did. Its JSON form is stable: fields are only added.
type loaded struct {
	Schema  int      `json:"schema"`
	Action  string   `json:"action"`
	Tier    string   `json:"tier"`
	ABI     uint32   `json:"abi"`
	Version uint32   `json:"version"`
	Cgroup  int      `json:"cgroup"`
	Dir     string   `json:"dir"`
	Better  []better `json:"better"`
}

// better is a tier above the one in force.
type better struct {
	Tier string `json:"tier"`
	// Available says that the kernel supports the tier, but another tier is loaded.
	Available bool   `json:"available"`
	Why       string `json:"why,omitempty"`
}

func actionOf(st bpf.Status, before error) string {
	switch {
	case !st.Loaded:
		return "unchanged"
	case errors.Is(before, bpf.ErrAbsent):
		return "loaded"
	default:
		return "replaced"
	}
}

// better returns for each better tier why it is not in force. It tries tiers that the load did
// not need to try, for a moment and beside the ledger.
func (k kernel) better(st bpf.Status) []better {
	list := []better{}
	for tier := bpf.TierA; tier < st.Tier; tier++ {
		i := slices.IndexFunc(st.Refused, func(r bpf.Refusal) bool { return r.Tier == tier })
		var err error
		if i >= 0 {
			err = st.Refused[i].Err
		} else {
			err = k.trial(tier)
		}
		b := better{Tier: tier.String(), Available: err == nil}
		if err != nil {
			b.Why = strings.TrimPrefix(plain{err}.Error(), fmt.Sprintf("tier %v: ", tier))
		}
		list = append(list, b)
	}
	return list
}

func (l loaded) write(out io.Writer) {
	verb := map[string]string{
		"loaded": "loaded the ledger", "replaced": "replaced the ledger",
		"unchanged": "the ledger is loaded already",
	}[l.Action]
	fmt.Fprintf(out, "%s: tier %s, ABI %d, version %d, cgroup v%d\npinned in %s\n", verb, l.Tier, l.ABI, l.Version, l.Cgroup, l.Dir)
	for _, b := range l.Better {
		if b.Available {
			fmt.Fprintf(out, "tier %s can be had: oomwitness load --tier %s\n", b.Tier, b.Tier)
			continue
		}
		fmt.Fprintf(out, "not tier %s: %s\n", b.Tier, b.Why)
	}
	if l.Tier == bpf.TierC.String() {
		fmt.Fprintf(out, "tier C sees every victim, but not whose limit fired: causes come from the counters, or are unknown\n")
	}
}

func newUnload(k kernel) *cobra.Command {
	var p pins
	cmd := &cobra.Command{
		Use:   "unload",
		Short: "Remove the ledger from the kernel",
		Long: `Remove the ledger from the kernel: its programs end, and its record is gone. Containers go
on, and verdicts use the cgroups' counters.

A second unload is no error. unload removes nothing of others: a folder in which others have
pinned something stays, and the output names what is there. The shim loads the ledger again
at the start of the next pod. To remove the ledger for good, remove the shim first (oomwitness
uninstall).`,
		Example: `  oomwitness unload`,
		Args:    whycli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := p.check(); err != nil {
				return err
			}
			text, err := k.unloaded(p)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), text)
			return err
		},
	}
	p.add(cmd)
	return cmd
}

// unloaded removes the ledger and returns a text with the result.
func (k kernel) unloaded(p pins) (string, error) {
	_, before := k.meta(p.dir)
	if err := k.unload(p.dir, p.lockDir); err != nil {
		return "", p.misplaced(withAdvice(err))
	}
	said := "removed the ledger from " + p.dir
	if errors.Is(before, bpf.ErrAbsent) {
		said = "no ledger was loaded in " + p.dir
	}
	if stays := k.stays(p.dir); stays != "" {
		said += "\n" + stays
	}
	return said, nil
}
