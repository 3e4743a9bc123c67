package agent

import (
	"github.com/oomwitness/oomwitness/agent/internal/events"
	"github.com/oomwitness/oomwitness/agent/internal/web"
)

// What log, journal, API, page and trace have of OOM kills.
type (
	// OOMEvent is one OOM event with its victims.
	OOMEvent = events.OOMEvent
	// Victim is a process that the OOM killer has ended.
	Victim = events.Victim
	// IDs are a victim's on the node.
	IDs = events.IDs
	// Process is who asked for the memory.
	Process = events.Process
	// Memory is what a victim had.
	Memory = events.Memory
	// Cgroup is a victim's.
	Cgroup = events.Cgroup
	// Domain is what ran out of memory.
	Domain = events.Domain
	// Container is a victim's.
	Container = events.Container
	// Pod is a victim's.
	Pod = events.Pod
)

// Answer is the body of the API's /api/v1/events, AnswerSchema the version of its form.
type Answer = web.Answer

// AnswerSchema is the version of Answer.
const AnswerSchema = web.Schema

// MaxEvents is how many OOM events the API has, MaxEventVictims how many victims of one.
const (
	MaxEvents       = web.MaxEvents
	MaxEventVictims = web.MaxEventVictims
)

// Clean makes text of others safe for a terminal and for one line.
func Clean(s string) string { return events.Clean(s) }
