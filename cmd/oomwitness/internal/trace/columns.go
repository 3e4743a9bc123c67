package trace

import (
	"fmt"
	"time"

	"github.com/oomwitness/oomwitness/agent"
	"github.com/oomwitness/oomwitness/oom"
	"github.com/oomwitness/oomwitness/why/text"
)

// DefaultColumns is the width of the text form if standard output is no terminal.
const DefaultColumns = text.DefaultColumns

// Widths of the text form, in cells.
const (
	minColumns = 32 // the text form is never narrower
	// noMemory is how many columns a terminal needs for CAUSE and MEMORY, noDate for the
	// date beside the time.
	noMemory, noDate = 60, 80
	minVictim        = 14
	wantedVictim     = 18
	maxVictim        = 24 // a name of 15 cells, and a PID of 7 digits in brackets
	maxName          = 100
)

const (
	clock     = "15:04:05"
	dateClock = "01-02 15:04:05"
	fullTime  = "2006-01-02 15:04:05"
)

// narrowColumns returns the columns of the text form, which fit the terminal. A narrow terminal
// has neither CAUSE and MEMORY nor the date.
func narrowColumns(terminal int) []column {
	terminal = max(terminal, minColumns)
	layout, victim := dateClock, wantedVictim
	if terminal < noDate {
		layout, victim = clock, minVictim
	}
	columns := []column{nameColumn, timeColumn(layout), victimColumn(victim)}
	if terminal >= noMemory {
		columns = []column{nameColumn, timeColumn(layout), causeColumn, victimColumn(victim), memoryColumn}
	}
	left := terminal - len(between)*(len(columns)-1)
	for _, c := range columns {
		left -= c.width
	}
	if more := min(left/2, maxVictim) - victim; more > 0 && terminal >= noDate {
		columns[3] = victimColumn(victim + more)
		left -= more
	}
	columns[0].width = min(left, maxName)
	if columns[0].width < len(columns[0].title) {
		columns[0].title = "NAME"
	}
	return columns
}

// wideColumns returns the columns of the wide form: everything known.
func wideColumns() []column {
	return []column{
		nameColumn, timeColumn(fullTime), causeColumn, victimColumn(0), memoryColumn,
		{title: "LIMIT", number: true, text: func(e *agent.OOMEvent, _ int) string { return limit(e) }},
		{title: "ROLE", text: func(e *agent.OOMEvent, _ int) string { return role(e.First()) }},
		{title: "TIER", text: func(e *agent.OOMEvent, _ int) string { return e.Tier }},
		{title: "LIMIT OF", text: func(e *agent.OOMEvent, _ int) string { return limitOf(e) }},
		{title: "IMAGE", text: func(e *agent.OOMEvent, _ int) string { return image(e.First()) }},
		{title: "CONTAINER ID", text: func(e *agent.OOMEvent, _ int) string { return containerID(e.First()) }},
		{title: "CGROUP", text: func(e *agent.OOMEvent, _ int) string { return cgroupText(e.First().Cgroup) }},
	}
}

var (
	nameColumn   = column{title: "POD, CONTAINER OR UNIT", text: func(e *agent.OOMEvent, _ int) string { return name(e.First()) }}
	causeColumn  = column{title: "CAUSE", width: 9, text: func(e *agent.OOMEvent, _ int) string { return string(e.Cause) }}
	memoryColumn = column{title: "MEMORY", width: 6, number: true, text: func(e *agent.OOMEvent, _ int) string { return sizeOf(e.First().Memory.RSS) }}
)

// timeColumn has the time in the zone of this machine, which the title names if there is room.
func timeColumn(layout string) column {
	title := "TIME " + time.Now().In(time.Local).Format("MST")
	if len(title) > len(layout) {
		title = "TIME"
	}
	return column{title: title, width: len(layout), text: func(e *agent.OOMEvent, _ int) string { return e.Time.In(time.Local).Format(layout) }}
}

// victimColumn has the process's name and its PID. The PID is never cut.
func victimColumn(width int) column {
	return column{title: "VICTIM", width: width, text: func(e *agent.OOMEvent, width int) string {
		pid := fmt.Sprintf("[%d]", e.First().PID)
		return text.Cut(text.Plain(e.First().Comm), width-len(pid)) + pid
	}}
}

// role returns the role of the victim in its container.
func role(v *agent.Victim) string {
	switch {
	case v.Init:
		return "init"
	case v.SharedMemory:
		return "shared"
	default:
		return "-"
	}
}

// sizeOf returns a size as Kubernetes writes quantities, such as 64.0Mi.
func sizeOf(bytes *uint64) string {
	if bytes == nil {
		return "?"
	}
	return text.Size(*bytes)
}

// limit returns the limit of the memory that was exceeded.
func limit(e *agent.OOMEvent) string {
	if e.Domain == nil {
		return "?"
	}
	return sizeOf(&e.Domain.Size)
}

// limitOf returns the cgroup whose limit was exceeded, if it is not the victim's own.
func limitOf(e *agent.OOMEvent) string {
	d := e.Domain
	switch {
	case d == nil && e.Cause == oom.CauseUnknown:
		return "?"
	case d == nil || d.ID == 0 || d.ID == e.First().Cgroup.ID:
		return "-"
	case d.Path != "":
		return d.Path
	default:
		return fmt.Sprintf("%s cgroup %d", removed, d.ID)
	}
}

func image(v *agent.Victim) string {
	if v.Container == nil || v.Container.Image == "" {
		return "-"
	}
	return v.Container.Image
}

func containerID(v *agent.Victim) string {
	if v.Container == nil {
		return "-"
	}
	return v.Container.ID
}

// removed stands for a cgroup without a known name.
const removed = "(removed)"

// cgroupText returns the path of a cgroup, or the known part of it.
func cgroupText(c agent.Cgroup) string {
	switch {
	case c.Path != "":
		return c.Path
	case c.Ancestor == "" || c.Ancestor == "/":
		return fmt.Sprintf("%s cgroup %d", removed, c.ID)
	default:
		return fmt.Sprintf("%s/%s cgroup %d", c.Ancestor, removed, c.ID)
	}
}

// name returns the victim's pod and container, or its unit, or its cgroup.
func name(v *agent.Victim) string {
	switch {
	case v.Pod != nil && v.Pod.Name != "":
		return v.Pod.Namespace + "/" + v.Pod.Name + inPod(v.Container, "")
	case v.Pod != nil:
		return "pod " + v.Pod.UID + inPod(v.Container, "/"+removed)
	case v.Container != nil:
		return shortID(v.Container.ID)
	case v.Unit != "":
		return v.Unit
	case v.Cgroup.Path == "" && (v.Cgroup.Ancestor == "" || v.Cgroup.Ancestor == "/"):
		return removed
	case v.Cgroup.Path == "":
		return v.Cgroup.Ancestor + "/" + removed
	}
	if unit := agent.Unit(v.Cgroup.Path); unit != "" {
		return unit
	}
	return v.Cgroup.Path
}

// inPod returns the container's part of a name, none if there is no container.
func inPod(c *agent.Container, none string) string {
	switch {
	case c == nil:
		return none
	case c.Name != "":
		return "/" + c.Name
	default:
		return "/" + shortID(c.ID)
	}
}

// shortID returns the first part of an ID, as people compare IDs.
func shortID(id string) string {
	if len(id) == 64 {
		return id[:12]
	}
	return id
}
