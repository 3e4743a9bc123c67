// Package trace shows the ledger's records with the names that an operator
// knows.
package trace

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/oomwitness/oomwitness/agent/kill"
	"github.com/oomwitness/oomwitness/oom"
)

// Writer shows events one by one.
type Writer interface {
	Begin() error
	Write(*kill.Event) error
}

// NewWriter returns the writer of a format, "json" or "text".
func NewWriter(w io.Writer, format string) Writer {
	if format == "json" {
		return jsonWriter{json.NewEncoder(w)}
	}
	return &textWriter{w: w, zone: time.Local}
}

type jsonWriter struct{ *json.Encoder }

func (jsonWriter) Begin() error { return nil }

func (w jsonWriter) Write(e *kill.Event) error { return w.Encode(e) }

// textWriter writes a table. The widths are fixed, since the rows to come are
// not known; what may be long comes last.
type textWriter struct {
	w    io.Writer
	zone *time.Location
}

const (
	row        = "%-19s  %-9s  %-15s  %7s  %8s  %8s  %-4s  %-6s  %s\n"
	timeFormat = "2006-01-02 15:04:05"
)

func (w *textWriter) Begin() error {
	_, err := fmt.Fprintf(w.w, row, "TIME", "SCOPE", "COMM", "PID", "RSS", "LIMIT", "TIER", "ROLE", "CONTAINER OR CGROUP")
	return err
}

func (w *textWriter) Write(e *kill.Event) error {
	_, err := fmt.Fprintf(w.w, row, e.Time.In(w.zone).Format(timeFormat), e.Cause, kill.Clean(e.Victim.Comm),
		fmt.Sprint(e.Victim.PID), sizeOf(e.Memory.RSS), limit(e), e.Tier, role(e.Victim), kill.Clean(owner(e)+elsewhere(e)))
	return err
}

// role is what distinguishes the victim from any process of its container.
func role(v kill.Victim) string {
	switch {
	case v.Init:
		return "init"
	case v.SharedMemory:
		return "shared"
	default:
		return "-"
	}
}

func sizeOf(bytes *uint64) string {
	if bytes == nil {
		return "?"
	}
	return kill.Size(*bytes)
}

// limit says how much there was.
func limit(e *kill.Event) string {
	if e.Domain == nil {
		return "?"
	}
	return kill.Size(e.Domain.Size)
}

// elsewhere says whose limit fired, where the cause leaves that open.
func elsewhere(e *kill.Event) string {
	d := e.Domain
	switch {
	case d == nil || d.ID == 0 || d.ID == e.Cgroup.ID || e.Cause == oom.CausePod:
		return ""
	case d.Path != "":
		return ", limit of " + d.Path
	default:
		return fmt.Sprintf(", limit of cgroup %d", d.ID)
	}
}

// shortID is as much of a full ID as people compare.
const shortID = 12

// owner names the container, as well as it is known, or else the cgroup.
func owner(e *kill.Event) string {
	var parts []string
	if e.Pod != nil && e.Pod.Name != "" {
		parts = append(parts, e.Pod.Namespace+"/"+e.Pod.Name+"/"+e.Container.Name)
	} else if e.Pod != nil {
		parts = append(parts, "pod "+e.Pod.UID)
	}
	if e.Container == nil {
		return strings.Join(append(parts, cgroupText(e.Cgroup, e.Pod != nil)), " ")
	}
	id := e.Container.ID
	if len(id) == 64 {
		id = id[:shortID]
	}
	parts = append(parts, id)
	if e.Container.Namespace != "" && e.Pod == nil {
		parts = append(parts, e.Container.Image)
	}
	return strings.Join(parts, " ")
}

// cgroupText is the path, or what is known of it; of a removed one the pod says where
// it was, if there is one.
func cgroupText(c kill.Cgroup, pod bool) string {
	switch {
	case c.Path != "":
		return c.Path
	case pod || c.Ancestor == "" || c.Ancestor == "/":
		return fmt.Sprintf("(removed cgroup %d)", c.ID)
	default:
		return fmt.Sprintf("%s/? (removed cgroup %d)", c.Ancestor, c.ID)
	}
}
