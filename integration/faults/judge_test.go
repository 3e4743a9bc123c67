//go:build linux

package faults

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/oomwitness/oomwitness/integration/cri"
	"github.com/oomwitness/oomwitness/integration/faultkit"
)

// tolerance is the allowed distance between finished_at and the end of init, which the test
// sees by a pidfd: the shim has to be scheduled to reap init.
const tolerance = 4 * time.Second

// count has the results of the containers of one kind.
type count struct {
	n, right, excused, stopped                                      int
	dupExit, lateOOM, falseOOM, unseen, oomAgain, firstWrong, other int
	off                                                             time.Duration // greatest distance of finished_at from the end
	shown                                                           time.Duration // longest time from the end to the answer of Wait
}

// summary has the counts by kind, in the order of kinds.
type summary struct {
	counts map[string]*count
	wrongs *[]string
}

func newSummary() summary { return summary{map[string]*count{}, new([]string)} }

// counted returns the numbers of a container's TaskOOMs and TaskExits.
func (n *node) counted(m *member) (ooms, exits int) {
	for _, e := range n.events.of(m.id) {
		switch e.topic {
		case "/tasks/oom":
			ooms++
		case "/tasks/exit":
			exits++
		}
	}
	return ooms, exits
}

// late reports whether the first TaskOOM came after a TaskExit.
func (n *node) late(m *member) bool {
	mine := n.events.of(m.id)
	oom := slices.IndexFunc(mine, func(e event) bool { return e.topic == "/tasks/oom" })
	exit := slices.IndexFunc(mine, func(e event) bool { return e.topic == "/tasks/exit" })
	return oom >= 0 && exit >= 0 && exit < oom
}

// judge returns what is wrong with CRI's status, "" for nothing.
func (m *member) judge(s *cri.Status) string {
	switch {
	case s == nil:
		return "not ended"
	case s.Code != m.Code || s.Reason != m.Reason:
		return fmt.Sprintf("%s %d", s.Reason, s.Code)
	case m.off(s) > m.tolerance() && !m.Lost:
		return fmt.Sprintf("%s %d at %s, %s from its end", s.Reason, s.Code, s.Finished.Format(time.StampMilli), m.off(s))
	default:
		return ""
	}
}

// tolerance is longer if finished_at is the time at which CRI noticed that its Wait broke off:
// then the time is not the shim's.
func (m *member) tolerance() time.Duration {
	if m.broke.IsZero() {
		return tolerance
	}
	return 4 * tolerance
}

// off returns the distance of finished_at from the end, on the clock of the node. If the shim's
// death broke CRI's Wait off, the distance is from that death, since CRI then writes its own
// time (internal/cri/server/events.go, startContainerExitMonitor).
func (m *member) off(s *cri.Status) time.Duration {
	end := m.end
	if !m.broke.IsZero() {
		end = m.broke
	}
	d := s.Finished.Sub(end.Round(0)).Abs()
	if m.edge { // CRI and the test may have read the clock before and after the change
		d = min(d, (d - clockSet).Abs())
	}
	return d
}

func (s summary) add(fl *fleet, f fault, m *member) {
	n := fl.n
	c := s.counts[m.Name]
	if c == nil {
		c = &count{}
		s.counts[m.Name] = c
	}
	c.n++
	ooms, exits := n.counted(m)
	var faults []string
	fault := func(counter *int, format string, args ...any) {
		*counter++
		faults = append(faults, fmt.Sprintf(format, args...))
	}
	first, last := m.judge(m.first), m.judge(m.last)
	switch {
	case last == "":
		c.right++
		c.off = max(c.off, m.off(m.last))
	case f.excuse != nil && f.excuse(fl, m), slices.ContainsFunc(faultkit.LogOf(m.id), gaveUp), fl.lost(m):
		c.excused++
		fl.n.t.Logf("%s %s excused: CRI says %s", m.Name, m.id, last)
		if m.last == nil && fl.n.shim != "stock" {
			if wrong := m.judge(m.stopped); wrong != "" {
				faults = append(faults, "CRI says "+wrong+" when it is stopped")
			} else {
				c.stopped++
			}
		}
	default:
		faults = append(faults, "CRI says "+last)
	}
	switch {
	case first == "" || last != "":
	case m.Lost, !m.broke.IsZero(): // CRI makes an exit up, and handles that first
		c.firstWrong++
	default:
		fault(&c.firstWrong, "CRI first said %s", first)
	}
	if exits > 1 {
		fault(&c.dupExit, "%d TaskExits, and the fault began %s after its end", exits, fl.Struck.Sub(m.end))
	}
	if exits == 0 {
		c.unseen++
	}
	if ooms > 1 { // a new containerd gets a second TaskOOM, which is harmless
		c.oomAgain++
	}
	if m.Reason != faultkit.OOMKilled && ooms > 0 {
		fault(&c.falseOOM, "%d TaskOOMs", ooms)
	}
	if n.late(m) {
		fault(&c.lateOOM, "TaskOOM after TaskExit")
	}
	if f.check != nil {
		if wrong := f.check(fl, m); wrong != "" {
			fault(&c.other, "%s", wrong)
		}
	}
	if f.bound && !m.shown.IsZero() {
		took := m.shown.Sub(m.end)
		c.shown = max(c.shown, took)
		if took > bound {
			faults = append(faults, fmt.Sprintf("its shim showed the exit after %s", took))
		}
	}
	if len(faults) > 0 {
		*s.wrongs = append(*s.wrongs, fmt.Sprintf("%s %s, want %s %d, ended %s at %s: %s\n  events %v\n  %s",
			m.Name, m.id, m.Reason, m.Code, m.when, m.end.Format(time.StampMilli), strings.Join(faults, "; "),
			n.events.of(m.id), faultkit.LogEnd(m.id)))
	}
}

// report prints a line for each kind. Of our shim all must be right.
func (s summary) report(t *testing.T, n *node, f fault) {
	t.Helper()
	for _, k := range append(slices.Clone(faultkit.Kinds), kindRemoved, faultkit.Kind{Name: "joined"}) {
		c := s.counts[k.Name]
		if c == nil {
			continue
		}
		line := fmt.Sprintf("fault=%s %s shim=%s kind=%s n=%d right=%d wrong=%d excused=%d right_when_stopped=%d dup_exit=%d late_oom=%d false_oom=%d first_wrong=%d unseen_exit=%d oom_again=%d finished_off=%s",
			f.Label, n.where, n.shim, k.Name, c.n, c.right, c.n-c.right-c.excused, c.excused, c.stopped, c.dupExit, c.lateOOM, c.falseOOM,
			c.firstWrong, c.unseen, c.oomAgain, c.off.Round(time.Millisecond))
		if f.check != nil {
			line += fmt.Sprintf(" other=%d", c.other)
		}
		if f.bound {
			line += fmt.Sprintf(" shown_after=%s", c.shown.Round(time.Millisecond))
		}
		faultkit.Keep(t, fmt.Sprintf("%s seed=%d", line, n.Seed))
	}
	for _, wrong := range *s.wrongs {
		t.Log(wrong)
	}
	if n.shim != "stock" {
		assert.Zero(t, len(*s.wrongs), "wrong verdicts of %s, seed %d", f.Label, n.Seed)
	}
}

// gone reports whether a shim decided without the cgroup.
func gone(line string) bool {
	return strings.Contains(line, "msg=verdict") && strings.Contains(line, "cgroup_gone=true")
}

// gaveUp reports whether CRI's recovery took longer than its 10 s. CRI then never asks again,
// whatever a shim could answer.
func gaveUp(line string) bool {
	return strings.Contains(line, "Failed to load container status") && strings.Contains(line, "deadline exceeded")
}
