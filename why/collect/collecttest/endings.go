// Package collecttest has a container's end for each verdict, as a shim spools the end, and
// the checks of the page that explains the end.
package collecttest

import (
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/oom"
	"github.com/oomwitness/oomwitness/oom/exits"
)

// Ending is a way in which a container ends, as the evidence has the ending.
type Ending struct {
	status   int
	evidence []oom.Evidence // none without a source
	stops    []oom.Stop
	unknown  bool // nobody has the status
	change   func(*exits.Exit)
	// Says is the headline, and Rule the rule that decides.
	Says string
	Rule oom.Rule
}

// What a headline says.
const (
	OOMKilled = "OOMKilled"
	Stopped   = "stopped as asked"
	Signal    = "killed by a signal"
	Exited    = "exited by itself"
	Unknown   = "what ended it is not known"
)

// at returns a time before the end of the container.
func at(before time.Duration) time.Time { return ended.Add(-before) }

// ended is when the containers of Endings end, until Exit moves the time.
var ended = time.Date(2026, 1, 2, 3, 3, 5, 0, time.UTC)

const initPID = 4002

func victim(l oom.Lineage, before time.Duration, cause oom.Cause) oom.Victim {
	v := oom.Victim{Seq: 1, At: at(before), PID: initPID + 5, Comm: "worker", Lineage: l, Cause: cause, Limit: 9, Anon: 59 << 20, File: 1 << 20}
	if l == oom.LineageInit {
		v.PID, v.Comm = initPID, "python3"
	}
	return v
}

// ledger is the evidence of a ledger of tier A that has seen these victims, and no
// SIGKILL to init.
func ledger(victims ...oom.Victim) oom.Evidence {
	e := oom.Evidence{Source: "ledger", Tier: "A", Init: oom.No, Sent: oom.No, Kills: uint64(len(victims)), Victims: victims}
	for _, v := range victims {
		e.Last, e.Cause = v.At, v.Cause
		if v.Lineage == oom.LineageInit {
			e.Init = oom.Yes
		}
	}
	if len(victims) > 0 {
		e.Memory = &oom.Memory{
			Usage: 64 << 20, Limit: 64 << 20, Anon: 59 << 20, File: 3 << 20, Kernel: 2 << 20,
			Candidates: []oom.Candidate{{PID: initPID, Comm: "python3", RSS: 60 << 20}, {PID: initPID + 5, Comm: "worker", RSS: 2 << 20}},
		}
	}
	return e
}

func with(e oom.Evidence, change func(*oom.Evidence)) []oom.Evidence {
	e.Victims = slices.Clone(e.Victims)
	change(&e)
	return []oom.Evidence{e}
}

func sentBy(s *oom.Sender, victims ...oom.Victim) []oom.Evidence {
	return with(ledger(victims...), func(e *oom.Evidence) { e.Sent, e.Sender = oom.Yes, s })
}

// counters are those of the cgroup, which name nobody.
func counters(kills uint64, before time.Duration) []oom.Evidence {
	return []oom.Evidence{{Source: "memory.events", Kills: kills, Last: at(before), Cause: oom.CauseContainer}}
}

func asked(s unix.Signal, before time.Duration) oom.Stop { return oom.Stop{Signal: s, At: at(before)} }

var (
	initKilled = victim(oom.LineageInit, 0, oom.CauseContainer)
	worker     = victim(oom.LineageDescendant, time.Second, oom.CausePod)
	before     = victim(oom.LineageDescendant, time.Hour, oom.CauseContainer)
	execd      = victim(oom.LineageExec, time.Second, oom.CauseContainer)
	earlyoom   = &oom.Sender{At: at(0), PID: 812, Comm: "earlyoom", UID: 65534, CgroupPath: "/system.slice/earlyoom.service"}
)

func one(e oom.Evidence) []oom.Evidence { return []oom.Evidence{e} }

func caused(cause oom.Cause) []oom.Evidence {
	return one(ledger(victim(oom.LineageInit, 0, cause)))
}

// Endings are the rows of the causality table, and one row for each rule and unknown of
// oom.Decide.
var Endings = map[string]Ending{
	"init":           {status: 137, evidence: one(ledger(initKilled)), Says: OOMKilled, Rule: "1"},
	"pod-limit":      {status: 137, evidence: caused(oom.CausePod), Says: OOMKilled, Rule: "1"},
	"ancestor-limit": {status: 137, evidence: caused(oom.CauseAncestor), Says: OOMKilled, Rule: "1"},
	"node-full": {status: 137, evidence: with(ledger(victim(oom.LineageInit, 0, oom.CauseNode)), func(e *oom.Evidence) {
		e.Memory.Limit = 0
	}), Says: OOMKilled, Rule: "1"},
	"cpuset":    {status: 137, evidence: caused(oom.CauseCpuset), Says: OOMKilled, Rule: "1"},
	"mempolicy": {status: 137, evidence: caused(oom.CauseMempolicy), Says: OOMKilled, Rule: "1"},
	"sysrq":     {status: 137, evidence: caused(oom.CauseSysrq), Says: OOMKilled, Rule: "1"},
	"moved-to-sibling": {status: 137, evidence: with(ledger(victim(oom.LineageInit, 0, oom.CauseUnknown)), func(e *oom.Evidence) {
		e.Victims[0].LimitPath = "/kubepods/burstable/podu/sibling"
	}), Says: OOMKilled, Rule: "1"},
	"moved-and-gone": {status: 137, evidence: caused(oom.CauseUnknown), Says: OOMKilled, Rule: "1"},
	"tmpfs": {status: 137, evidence: with(ledger(initKilled), func(e *oom.Evidence) {
		e.Memory.Anon, e.Memory.Shmem = 2<<20, 57<<20
	}), Says: OOMKilled, Rule: "1"},
	"swap": {status: 137, evidence: with(ledger(initKilled), func(e *oom.Evidence) {
		e.Victims[0].Swap, e.Memory.Swap = 200<<20, 200<<20
	}), Says: OOMKilled, Rule: "1"},
	"tier-c": {status: 137, evidence: with(ledger(victim("", 0, oom.CauseUnknown)), func(e *oom.Evidence) {
		e.Tier, e.Memory, e.Sent, e.Victims[0].Limit = "C", nil, oom.Unknown, 0
	}), Says: OOMKilled, Rule: "7"},
	"passed-on":  {status: 137, evidence: one(ledger(before)), Says: OOMKilled, Rule: "5a"},
	"gives-up":   {status: 1, evidence: one(ledger(worker)), Says: OOMKilled, Rule: "5b"},
	"no-lineage": {status: 1, evidence: one(ledger(victim("", time.Second, oom.CauseContainer))), Says: OOMKilled, Rule: "5b"},
	"entry-evicted": {status: 1, evidence: with(ledger(), func(e *oom.Evidence) {
		e.Kills, e.Last, e.Cause = 2, at(time.Second), oom.CauseNone
	}), Says: OOMKilled, Rule: "5b"},
	"counters-alone": {status: 137, evidence: counters(1, time.Second), Says: OOMKilled, Rule: "7"},
	"counters-no-cause": {status: 137, evidence: with(counters(1, time.Second)[0], func(e *oom.Evidence) {
		e.Cause = oom.CauseNone
	}), Says: OOMKilled, Rule: "7"},
	"shutdown-too-large": {status: 1, evidence: one(ledger(worker)), stops: []oom.Stop{asked(unix.SIGTERM, 3*time.Second)}, Says: OOMKilled, Rule: "3"},
	"reported-as":        {status: 137, evidence: one(ledger(initKilled)), change: func(e *exits.Exit) { e.Reported = 217 }, Says: OOMKilled, Rule: "1"},
	"cgroup-gone": {status: 137, evidence: with(ledger(initKilled), func(e *oom.Evidence) { e.Gone = true }), change: func(e *exits.Exit) {
		e.Memory = nil
	}, Says: OOMKilled, Rule: "1"},

	"stopped-sigterm":   {status: 143, evidence: one(ledger()), stops: []oom.Stop{asked(unix.SIGTERM, time.Second)}, Says: Stopped, Rule: "3"},
	"stopped-sigint":    {status: 1, evidence: one(ledger(worker)), stops: []oom.Stop{asked(unix.SIGINT, time.Millisecond)}, Says: Stopped, Rule: "3"},
	"liveness-kill":     {status: 137, evidence: sentBy(&oom.Sender{At: at(0), PID: 700, Comm: "runc"}), stops: []oom.Stop{asked(unix.SIGTERM, 30*time.Second), asked(unix.SIGKILL, time.Millisecond)}, Says: Stopped, Rule: "2"},
	"stopped-no-ledger": {status: 137, evidence: counters(0, 0), stops: []oom.Stop{asked(unix.SIGTERM, 30*time.Second), asked(unix.SIGKILL, 0)}, Says: Stopped, Rule: "3"},

	"earlyoom":         {status: 137, evidence: sentBy(earlyoom), Says: Signal, Rule: "2"},
	"worker-then-kill": {status: 137, evidence: sentBy(earlyoom, worker), Says: Signal, Rule: "2"},
	"kernel-kill":      {status: 137, evidence: sentBy(&oom.Sender{At: at(0)}), Says: Signal, Rule: "2"},
	"sender-gone":      {status: 137, evidence: sentBy(nil), Says: Signal, Rule: "2"},
	"kill-no-ledger":   {status: 137, evidence: counters(0, 0), Says: Signal, Rule: "8"},
	"kill-no-evidence": {status: 137, Says: Signal, Rule: "8"},
	"kill-tier-c": {status: 137, evidence: with(ledger(), func(e *oom.Evidence) {
		e.Tier, e.Sent = "C", oom.Unknown
	}), Says: Signal, Rule: "8"},
	"crash": {status: 139, evidence: one(ledger()), Says: Signal, Rule: "8"},

	"exit-0-after-kill": {status: 0, evidence: one(ledger(worker)), Says: Exited, Rule: "4"},
	"exit-0":            {status: 0, evidence: one(ledger()), Says: Exited, Rule: "4"},
	"exec-killed":       {status: 3, evidence: one(ledger(execd)), Says: Exited, Rule: "6"},
	"beyond-the-grace":  {status: 1, evidence: one(ledger(before)), Says: Exited, Rule: "8"},
	"exit-3":            {status: 3, evidence: one(ledger()), Says: Exited, Rule: "8"},
	"exit-137":          {status: 137, evidence: one(ledger()), Says: Exited, Rule: "8"},
	"shim-died":         {status: 137, evidence: one(ledger()), unknown: true, Says: Unknown, Rule: "8"},
}

// Pod is the pod of the containers.
var Pod = exits.Pod{Namespace: "shop", Name: "web-7d4b9c-x2x8v", UID: "u", Container: "app", Image: "example.com/web:1"}

// Exit returns the exit of a container that ended so, as a shim spools the exit.
func (e Ending) Exit(id string, pod exits.Pod, at time.Time) exits.Exit {
	x := exits.Exit{
		ID: id, Namespace: "k8s.io", Boot: "b", Pid: initPID, At: at, Status: e.status, Reported: e.status, StatusUnknown: e.unknown,
		Verdict: oom.Decide(oom.Case{
			Exit:  oom.Exit{Pid: initPID, Status: e.status, StatusUnknown: e.unknown, At: ended},
			Stops: e.stops, Evidence: e.evidence, Grace: 10 * time.Second,
		}),
		Stops:  exits.Signals(e.stops),
		Pod:    &pod,
		Memory: &exits.Memory{Peak: new(uint64(64 << 20)), Limit: new(uint64(64 << 20))},
	}
	later := at.Sub(ended)
	x.Verdict.Victims = slices.Clone(x.Verdict.Victims)
	for i := range x.Verdict.Victims {
		v := &x.Verdict.Victims[i]
		v.At = v.At.Add(later)
	}
	if e.change != nil {
		e.change(&x)
	}
	return x
}

// Reported returns the exit status that containerd is given.
func (e Ending) Reported() int { return e.Exit("", Pod, ended).Reported }
