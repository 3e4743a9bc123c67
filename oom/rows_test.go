package oom

import (
	"time"

	"golang.org/x/sys/unix"
)

// The cases of this file end at end, with that grace.
const grace = 10 * time.Second

var (
	end    = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	killer = &Sender{At: end.Add(-time.Millisecond), PID: 9, Comm: "earlyoom"}
)

// died returns a victim of that time before the end.
func died(l Lineage, ago time.Duration) Victim {
	return Victim{At: end.Add(-ago), Lineage: l, Comm: "worker", Cause: CausePod}
}

// inEvent is a victim of an OOM event of that number.
func inEvent(seq uint64, v Victim) Victim { v.Seq = seq; return v }

// ledger returns the evidence of a ledger that has named all kills, the newest last, and
// has seen no SIGKILL to init.
func ledger(victims ...Victim) Evidence {
	e := Evidence{Source: "ledger", Tier: "A", Init: No, Sent: No, Kills: uint64(len(victims)), Victims: victims}
	for _, v := range victims {
		e.Last, e.Cause = v.At, CauseContainer
		if v.Lineage == LineageInit {
			e.Init = Yes
		}
	}
	return e
}

// ending is a ledger that has seen that init was ending when it was killed.
func ending(victims ...Victim) Evidence {
	e := ledger(victims...)
	e.Init = No
	return e
}

// dying is a ledger that has seen that init was dying of a SIGKILL when it was killed.
func dying(of *Sender, victims ...Victim) Evidence {
	e := sent(of, victims...)
	e.Init = No
	return e
}

// sent is a ledger that has seen who sent init a SIGKILL.
func sent(by *Sender, victims ...Victim) Evidence {
	e := ledger(victims...)
	e.Sent, e.Sender = Yes, by
	return e
}

// unsent is a ledger that does not know of SIGKILLs.
func unsent(victims ...Victim) Evidence {
	e := ledger(victims...)
	e.Sent = Unknown
	return e
}

// nameless is a ledger that has counted one kill more than it names, at that time.
func nameless(ago time.Duration, victims ...Victim) Evidence {
	e := ledger(victims...)
	e.Kills++
	e.Last = end.Add(-ago)
	return e
}

// oldExecs is a ledger that has counted two kills more than it names, so many of exec'd
// processes.
func oldExecs(n uint64, victims ...Victim) Evidence {
	e := ledger(victims...)
	e.Kills, e.Execs = e.Kills+2, n
	return e
}

// counters is the evidence of counters that have counted so many kills.
func counters(kills uint64, ago time.Duration) Evidence {
	e := Evidence{Source: "memory.events", Kills: kills, Cause: CausePod}
	if kills > 0 {
		e.Last = end.Add(-ago)
	}
	return e
}

// asked returns a stop that was asked for at that time before the end.
func asked(s unix.Signal, ago time.Duration) Stop { return Stop{Signal: s, At: end.Add(-ago)} }

func counted(s Stop, kills uint64) Stop { s.Kills = kills; return s }

const (
	second = time.Second
	hour   = time.Hour

	child = LineageDescendant
	execd = LineageExec
	kill  = unix.SIGKILL
	term  = unix.SIGTERM
)

type row struct {
	status  int
	e       Evidence
	stops   []Stop
	rule    Rule
	ended   Ended
	lineage Lineage
}

func stops(all ...Stop) []Stop { return all }

// rows has at least one row for each rule of the design's section 5, and for each
// unknown.
var rows = map[string]row{
	// 1: init was a victim.
	"1: init":                        {137, ledger(died(LineageInit, 0)), nil, "1", EndedOOM, LineageInit},
	"1: init, a stop asked":          {137, ledger(died(LineageInit, 0)), stops(asked(kill, second)), "1", EndedOOM, LineageInit},
	"1: init, and a SIGKILL sent":    {137, sent(killer, died(LineageInit, 0)), nil, "1", EndedOOM, LineageInit},
	"1: init, after an exec'd child": {137, ledger(died(execd, second), died(LineageInit, 0)), nil, "1", EndedOOM, LineageInit},
	"1: init, whatever the status":   {0, ledger(died(LineageInit, 0)), nil, "1", EndedOOM, LineageInit},

	// Not 1: the ledger saw that init was ending when a group kill took it too.
	"4: killed when ending":                   {0, ending(died(LineageInit, 0)), nil, "4", EndedExited, ""},
	"8: killed when ending":                   {3, ending(died(LineageInit, 0)), nil, "8", EndedExited, ""},
	"8: killed when ending, 137":              {137, ending(died(LineageInit, 0)), nil, "8", EndedExited, ""},
	"8: killed when dumping its core":         {139, ending(died(LineageInit, 0)), nil, "8", EndedSignal, ""},
	"8: killed when ending, with its group":   {3, ending(inEvent(2, died(child, 0)), inEvent(2, died(LineageInit, 0))), nil, "8", EndedExited, ""},
	"8: killed when ending, before others":    {137, ending(inEvent(2, died(LineageInit, second)), inEvent(3, died(child, 0))), nil, "8", EndedExited, ""},
	"5b: killed when ending after a child":    {3, ending(inEvent(1, died(child, second)), inEvent(2, died(LineageInit, 0))), nil, "5b", EndedOOM, child},
	"5a: killed when passing on a child's":    {137, ending(inEvent(1, died(child, hour)), inEvent(2, died(LineageInit, 0))), nil, "5a", EndedOOM, child},
	"3: killed when ending, a stop asked":     {3, ending(died(LineageInit, 0)), stops(asked(term, second)), "3", EndedStopped, ""},
	"2: killed when dying of another SIGKILL": {137, dying(killer, died(LineageInit, 0)), nil, "2", EndedSignal, ""},

	// 2: a SIGKILL whose sender is known.
	"2: sender known":                        {137, sent(killer), nil, "2", EndedSignal, ""},
	"2: sender known, child killed before":   {137, sent(killer, died(child, second)), nil, "2", EndedSignal, child},
	"2: sender known, lineage unknown":       {137, sent(killer, died("", second)), nil, "2", EndedSignal, ""},
	"2: sender known, 0 stops but SIGTERM":   {137, sent(killer), stops(asked(term, second)), "2", EndedSignal, ""},
	"2: containerd's":                        {137, sent(killer, died(child, second)), stops(asked(kill, second)), "2", EndedStopped, child},
	"2: containerd asked when it was over":   {137, sent(killer), stops(asked(kill, 0)), "2", EndedSignal, ""},
	"2: containerd asked, nobody knows when": {137, sent(killer), stops(Stop{Signal: kill}), "2", EndedStopped, ""},
	"2: sent, by nobody knows whom":          {137, sent(nil, died(child, second)), nil, "2", EndedSignal, child},
	"2: not for a status of its own":         {3, sent(killer, died(child, hour)), nil, "8", EndedExited, child},

	// 3: containerd had asked.
	"3: SIGTERM, 143, child killed":       {143, ledger(died(child, second)), stops(asked(term, 0)), "3", EndedStopped, child},
	"3: SIGTERM, own status":              {7, ledger(died(child, second)), stops(asked(term, 0)), "3", EndedStopped, child},
	"3: SIGTERM, no kill":                 {7, ledger(), stops(asked(term, hour)), "3", EndedStopped, ""},
	"3: SIGTERM, 0, child killed after":   {0, ledger(died(child, 0)), stops(asked(term, second)), "3", EndedStopped, child},
	"3: SIGTERM, 143, child killed after": {143, ledger(died(child, 0)), stops(asked(term, second)), "3", EndedStopped, child},
	"3: SIGTERM and SIGKILL, 137":         {137, unsent(died(child, second)), stops(asked(term, 2*second), asked(kill, 0)), "3", EndedStopped, child},
	"3: SIGKILL came too late":            {137, ledger(died(child, second)), stops(asked(kill, 0)), "3", EndedStopped, child},
	"3: SIGKILL came too late, no kill":   {137, ledger(), stops(asked(kill, 0)), "3", EndedStopped, ""},
	"3: a dead shim's init, still alive":  {137, ledger(died(child, 0)), stops(asked(term, second), Stop{Signal: kill}), "3", EndedStopped, child},
	"3: SIGINT":                           {1, ledger(died(child, second)), stops(asked(unix.SIGINT, 0)), "3", EndedStopped, child},
	"3: SIGQUIT":                          {1, ledger(died(child, second)), stops(asked(unix.SIGQUIT, 0)), "3", EndedStopped, child},
	"3: RTMIN+3":                          {1, ledger(died(child, second)), stops(asked(37, 0)), "3", EndedStopped, child},
	"3: declared by the image":            {1, ledger(died(child, second)), stops(Stop{Signal: unix.SIGUSR1, At: end, Declared: true}), "3", EndedStopped, child},
	"3: the status of a reload's signal":  {129, ledger(died(child, second)), stops(asked(unix.SIGHUP, 0)), "3", EndedStopped, child},
	"3: exec'd child killed after":        {1, ledger(died(execd, 0)), stops(asked(term, second)), "3", EndedStopped, ""},
	"3: counters, killed before":          {7, counters(1, second), stops(counted(asked(term, 0), 1)), "3", EndedStopped, ""},
	"3: counters, killed before, 137":     {137, counters(1, 0), stops(counted(asked(term, second), 1)), "3", EndedStopped, ""},
	"3: counters, SIGKILL":                {137, counters(1, 0), stops(asked(kill, second)), "3", EndedStopped, ""},
	"3: old record, killed before":        {7, ledger(died(child, second)), stops(Stop{Signal: term, Kills: 1}), "3", EndedStopped, child},
	"3: a kill without a name, before":    {7, nameless(second), stops(asked(term, 0)), "3", EndedStopped, ""},
	// 3, its exception.
	"3: but child killed after":             {1, ledger(died(child, 0)), stops(asked(term, second)), "3", EndedOOM, child},
	"3: but child killed after, passed on":  {137, ledger(died(child, 0)), stops(asked(term, second)), "3", EndedOOM, child},
	"3: but lineage unknown, killed after":  {1, ledger(died("", 0)), stops(asked(term, second)), "3", EndedOOM, ""},
	"3: but killed after, nobody saw a 137": {137, unsent(died(child, 0)), stops(asked(term, second)), "7", EndedOOM, child},
	"3: but killed after the first of two":  {1, ledger(died(child, second)), stops(asked(unix.SIGINT, 2*second), asked(term, 0)), "3", EndedOOM, child},
	"3: but SIGKILL came too late":          {137, ledger(died(child, second)), stops(asked(term, 2*second), asked(kill, 0)), "3", EndedOOM, child},
	"3: but counters, killed after, 137":    {137, counters(1, 0), stops(asked(term, second)), "7", EndedOOM, ""},
	"3: but counters, killed after, 1":      {1, counters(2, 0), stops(counted(asked(term, second), 1)), "7", EndedOOM, ""},
	"3: but old record, killed after":       {7, ledger(died(child, hour), died(child, 0)), stops(Stop{Signal: term, Kills: 1}), "3", EndedOOM, child},
	"3: but a kill without a name, after":   {7, nameless(0), stops(asked(term, second)), "3", EndedOOM, ""},

	// 4: status 0.
	"4: after a kill":           {0, ledger(died(child, 0)), nil, "4", EndedExited, child},
	"4: after a kill, counters": {0, counters(1, 0), nil, "4", EndedExited, ""},

	// 5: a descendant of init, or a victim of unknown lineage.
	"5a: passed on at once":                     {137, ledger(died(child, 0)), nil, "5a", EndedOOM, child},
	"5a: passed on after an hour":               {137, ledger(died(child, hour)), nil, "5a", EndedOOM, child},
	"5a: lineage unknown":                       {137, ledger(died("", hour)), nil, "5a", EndedOOM, ""},
	"5a: without a name":                        {137, nameless(hour), nil, "5a", EndedOOM, ""},
	"5a: an exec'd process was killed since":    {137, ledger(died(child, hour), died(execd, 0)), nil, "5a", EndedOOM, child},
	"5b: gives up":                              {1, ledger(died(child, second)), nil, "5b", EndedOOM, child},
	"5b: gives up by a signal":                  {134, ledger(died(child, second)), nil, "5b", EndedOOM, child},
	"5b: at the grace":                          {1, ledger(died(child, grace)), nil, "5b", EndedOOM, child},
	"5b: lineage unknown":                       {1, ledger(died("", second)), nil, "5b", EndedOOM, ""},
	"5b: without a name":                        {1, nameless(second), nil, "5b", EndedOOM, ""},
	"5b: without a name, before an exec'd":      {1, nameless(0, died(execd, 0)), nil, "5b", EndedOOM, ""},
	"5b: the newest has no name":                {1, nameless(0, died(execd, hour)), nil, "5b", EndedOOM, ""},
	"5b: a reload is no stop":                   {1, ledger(died(child, second)), stops(asked(unix.SIGHUP, second)), "5b", EndedOOM, child},
	"5b: SIGUSR1, 2, SIGWINCH, SIGCONT neither": {1, ledger(died(child, second)), stops(asked(unix.SIGUSR1, 0), asked(unix.SIGUSR2, 0), asked(unix.SIGWINCH, 0), asked(unix.SIGCONT, 0)), "5b", EndedOOM, child},
	"8: beyond the grace":                       {1, ledger(died(child, grace+1)), nil, "8", EndedExited, child},
	"8: without a name, long ago":               {1, nameless(hour), nil, "8", EndedExited, ""},
	"8: without a name, an exec'd killed since": {1, nameless(0, died(execd, hour), died(execd, 0)), nil, "8", EndedExited, ""},

	"6: an exec'd process and exec'd ones without a name": {137, oldExecs(2, died(execd, 0)), nil, "6", EndedExited, execd},
	"5a: exec'd ones without a name, and another":         {137, oldExecs(1, died(execd, 0)), nil, "5a", EndedOOM, ""},

	// A process that has outlived init has not ended it.
	"8: an orphan killed after the end":               {1, ledger(died("", -second)), nil, "8", EndedExited, ""},
	"8: a child killed after the end, 137":            {137, ledger(died(child, -second)), nil, "8", EndedExited, ""},
	"8: an exec'd process killed after the end":       {3, ledger(died(execd, -second)), nil, "8", EndedExited, ""},
	"3: SIGTERM, an orphan killed after the end":      {1, ledger(died("", -second)), stops(asked(term, second)), "3", EndedStopped, ""},
	"5b: gives up, then an orphan is killed":          {1, ledger(died(child, second), died("", -second)), nil, "5b", EndedOOM, child},
	"8: a child long ago, an orphan after the end":    {1, ledger(died(child, hour), died("", -second)), nil, "8", EndedExited, child},
	"5b: the reaper's clock was read before the kill": {1, ledger(died(child, -sureAfter)), nil, "5b", EndedOOM, child},
	"7: counters have no times":                       {1, counters(1, -second), nil, "7", EndedOOM, ""},

	// 6: exec'd processes.
	"6: an exec'd process":      {3, ledger(died(execd, second)), nil, "6", EndedExited, execd},
	"6: an exec'd process, 137": {137, ledger(died(execd, second)), nil, "6", EndedExited, execd},

	// 7: neither lineage nor sender.
	"7: counters, 137":                    {137, counters(1, 0), nil, "7", EndedOOM, ""},
	"7: counters, 137, an old kill":       {137, counters(1, hour), nil, "7", EndedOOM, ""},
	"7: counters, gives up":               {1, counters(1, second), nil, "7", EndedOOM, ""},
	"7: the sender unknown, gives up 137": {137, unsent(died(child, second)), nil, "7", EndedOOM, child},
	"8: counters, beyond the grace":       {1, counters(1, grace+1), nil, "8", EndedExited, ""},
	"8: the sender unknown, an old kill":  {137, unsent(died(child, hour)), nil, "8", EndedSignal, child},

	// 8: nothing of all that.
	"8: plain exit":               {3, ledger(), nil, "8", EndedExited, ""},
	"8: 137, nobody sent":         {137, ledger(), nil, "8", EndedExited, ""},
	"8: 137, nobody knows":        {137, counters(0, 0), nil, "8", EndedSignal, ""},
	"8: a signal of its own":      {139, ledger(), nil, "8", EndedSignal, ""},
	"8: status 128 is no signal":  {128, ledger(), nil, "8", EndedExited, ""},
	"8: 255 is no signal either":  {255, ledger(), nil, "8", EndedExited, ""},
	"8: an unknown reload's exit": {3, ledger(), stops(asked(unix.SIGHUP, 0)), "8", EndedExited, ""},
}
