package why

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/oomwitness/oomwitness/why/text"
)

// lineages say how a victim is related to the container's init.
var lineages = map[string]string{
	"init":       "the container's init",
	"descendant": "started by the container's init",
	"exec":       "of an exec into the container",
}

// victims says which processes were killed.
func (p *page) victims(r *Run) {
	e := r.OOM
	if e == nil {
		if r.OOMKilled() || r.Verdict != nil && r.Verdict.Kills > 0 {
			p.unknown(r, "victim", "oom_event")
		}
		return
	}
	name := "victim"
	switch {
	case r.OOMKilled():
	case r.Verdict == nil && !r.Running:
		p.say("OOM kill", "%s ago: %s. Whether this kill ended the container is not known.", text.Ago(p.now.Sub(e.Time)), limitText(r, e.Cause))
	default:
		p.say("OOM before", "%s ago, which did not end the container: %s", text.Ago(p.now.Sub(e.Time)), limitText(r, e.Cause))
	}
	for i, v := range e.Victims {
		if i == maxCandidates && !p.Wide {
			p.say("", "and %d more: -o wide shows all", len(e.Victims)-i)
			break
		}
		p.say(name, "%s, %s", process(v.Comm, v.PID), kinship(r, &v))
		p.say("", "%s", victimSizes(&v))
		name = ""
	}
	if others := e.Killed - len(e.Victims); others > 0 {
		p.say("", "%d more victims of the same OOM event are in other containers", others)
	}
}

func process(comm string, pid int) string {
	if pid == 0 {
		return comm
	}
	return fmt.Sprintf("%s (pid %d)", comm, pid)
}

// kinship says how a victim is related to init.
func kinship(r *Run, v *Victim) string {
	switch said, known := lineages[v.Lineage]; {
	case known:
		return said
	case v.Init:
		return lineages["init"]
	case r.PID != 0 && v.PID == r.PID:
		return lineages["init"]
	}
	if because, ok := r.missing("lineage"); ok {
		return "not init; its lineage is not known, because " + because
	}
	return "not init"
}

func victimSizes(v *Victim) string {
	if v.RSS == nil {
		return "its size is not known"
	}
	said := text.Size(*v.RSS)
	if v.Swap > 0 {
		said += ", and " + text.Size(v.Swap) + " in swap"
	}
	if v.Anon != nil && v.File != nil && v.Shmem != nil {
		said += fmt.Sprintf(": anonymous %s, file %s, shared %s", text.Size(*v.Anon), text.Size(*v.File), text.Size(*v.Shmem))
	}
	if v.OOMScoreAdj != 0 {
		said += fmt.Sprintf("; oom_score_adj %d", v.OOMScoreAdj)
	}
	return said
}

// filled says what filled the memory.
func (p *page) filled(r *Run) {
	e := r.OOM
	if e == nil {
		return
	}
	kinds := slices.Clone(e.Kinds)
	slices.SortStableFunc(kinds, func(a, b Kind) int { return cmp.Compare(b.Bytes, a.Bytes) })
	var total float64
	for _, k := range kinds {
		total += float64(k.Bytes)
	}
	name := "filled by"
	for _, k := range kinds {
		if k.Bytes == 0 || total == 0 {
			continue
		}
		share := float64(k.Bytes) / total
		p.line(fmt.Sprintf("  %s%s %3.0f%% %8s  %s", text.Pad(name, label-2, false), text.Bar(share, max(minBar, min(barCells, p.Columns-label-besideBar))), share*100, text.Size(k.Bytes), text.Plain(k.Name)))
		name = ""
	}
	if len(kinds) == 0 {
		p.unknown(r, "filled by", "kinds")
	}
	if len(e.Candidates) == 0 {
		p.unknown(r, "largest", "candidates")
		return
	}
	var largest []string
	for _, c := range e.Candidates[:min(len(e.Candidates), p.most(len(e.Candidates)))] {
		largest = append(largest, process(c.Comm, c.PID)+" "+text.Size(c.RSS))
	}
	p.say("largest", "%s", strings.Join(largest, "; "))
}

func (p *page) most(all int) int {
	if p.Wide {
		return all
	}
	return maxCandidates
}

// memory says what the container had, and might have.
func (p *page) memory(r *Run) {
	m := &r.Memory
	var said []string
	switch {
	case m.Limit != nil:
		said = append(said, "limit "+text.Size(*m.Limit))
	case m.Unlimited:
		said = append(said, "no limit")
	}
	if m.Request != nil {
		said = append(said, "request "+text.Size(*m.Request))
	}
	if m.Peak != nil {
		said = append(said, "peak "+ofLimit(*m.Peak, m.Limit))
	} else if m.UsedAtOOM != nil {
		said = append(said, ofLimit(*m.UsedAtOOM, m.Limit)+" in use at the OOM kill")
	}
	name := "memory"
	if len(said) > 0 {
		p.say(name, "%s", strings.Join(said, ", "))
		name = ""
	}
	for _, field := range []string{"limit_bytes", "request_bytes", "peak_bytes"} {
		if because, ok := r.missing(field); ok {
			p.say(name, "%s not known, because %s", strings.TrimSuffix(field, "_bytes"), because)
			name = ""
		}
	}
}

// ofLimit returns a size, with its share of the limit if there is one.
func ofLimit(bytes uint64, limit *uint64) string {
	said := text.Size(bytes)
	if limit != nil && *limit > 0 {
		said += fmt.Sprintf(" (%.0f%% of the limit)", 100*float64(bytes)/float64(*limit))
	}
	return said
}

// often says how often the container ended in the last day.
func (p *page) often(r *Run) {
	if n := r.Recent; n != nil {
		p.say(fmt.Sprintf("last %d h", n.Hours), "%s of this container ended, %d of them OOMKilled", count(n.Runs, "run"), n.OOM)
	} else {
		p.unknown(r, "last 24 h", "last_day")
	}
	if r.Restarts != nil {
		p.say("restarts", "%d", *r.Restarts)
	}
}

// count returns a number with its noun.
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// evidence says what decided.
func (p *page) evidence(r *Run) {
	if v := r.Verdict; v != nil {
		said := v.Evidence
		if v.Tier != "" {
			said += ", tier " + v.Tier
		}
		p.say("evidence", "%s; rule %s; init a victim: %s; %s", said, v.Rule, v.InitVictim, count(int(v.Kills), "OOM kill"))
		if v.CgroupGone {
			p.say("", "the cgroup was gone before the last reading: kills at the very end may be missing")
		}
	}
	if id := r.Container.ID; id != "" {
		p.say("container", "%s", strings.TrimSpace(id+" "+r.Container.Image))
	}
}
