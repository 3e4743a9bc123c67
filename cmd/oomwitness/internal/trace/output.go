// Package trace shows the ledger's records with the names that an operator knows.
package trace

import (
	"encoding/json"
	"io"
	"time"

	"github.com/oomwitness/oomwitness/agent"
	"github.com/oomwitness/oomwitness/oom"
)

// Writer writes events one by one.
type Writer interface {
	Begin() error
	Write(*agent.OOMEvent) error
	// Flush writes the events that Write has held back. It is called at the end of the past
	// events.
	Flush() error
}

// Formats are the names of the output forms.
var Formats = []string{"text", "wide", "json"}

// NewWriter returns the writer of a form. The text form is as wide as the terminal.
func NewWriter(w io.Writer, format string, columns int) Writer {
	switch format {
	case "json":
		return jsonWriter{json.NewEncoder(w)}
	case "wide":
		return &tableWriter{w: w, columns: wideColumns(), grows: true, held: true}
	default:
		return &tableWriter{w: w, columns: narrowColumns(columns)}
	}
}

// Line is the JSON form of one kill. Its fields are stable.
type Line struct {
	Schema    int              `json:"schema"`
	Time      time.Time        `json:"time"`
	BootNS    uint64           `json:"boot_ns"`
	Event     uint64           `json:"event"`
	Index     uint32           `json:"index"`
	Cause     oom.Cause        `json:"cause"`
	Tier      string           `json:"tier"`
	Victim    LineVictim       `json:"victim"`
	Memory    agent.Memory     `json:"memory"`
	Cgroup    agent.Cgroup     `json:"cgroup"`
	Domain    *agent.Domain    `json:"domain"`
	Trigger   agent.Process    `json:"trigger"`
	Container *agent.Container `json:"container"`
	Pod       *agent.Pod       `json:"pod"`
	Unit      string           `json:"unit,omitempty"`
}

// LineVictim is the victim of a kill.
type LineVictim struct {
	agent.Process
	StartTicks   uint64 `json:"start_ticks"`
	UID          uint32 `json:"uid"`
	OOMScoreAdj  int32  `json:"oom_score_adj"`
	Init         bool   `json:"init"`
	SharedMemory bool   `json:"shared_memory"`
	OOMGroup     bool   `json:"oom_group"`
}

func lineOf(e *agent.OOMEvent) Line {
	v := e.First()
	return Line{
		Schema: e.Schema, Time: e.Time, BootNS: e.BootNS, Event: e.Event, Index: v.Index, Cause: e.Cause, Tier: e.Tier,
		Victim: LineVictim{
			Process: agent.Process{PID: v.PID, TID: v.TID, Comm: v.Comm}, StartTicks: v.StartTicks, UID: v.UID,
			OOMScoreAdj: v.OOMScoreAdj, Init: v.Init, SharedMemory: v.SharedMemory, OOMGroup: v.OOMGroup,
		},
		Memory: v.Memory, Cgroup: v.Cgroup, Domain: e.Domain, Trigger: e.Trigger, Container: v.Container, Pod: v.Pod, Unit: v.Unit,
	}
}

type jsonWriter struct{ *json.Encoder }

func (jsonWriter) Begin() error { return nil }

func (w jsonWriter) Write(e *agent.OOMEvent) error { return w.Encode(lineOf(e)) }

func (jsonWriter) Flush() error { return nil }
