package agent

import (
	"github.com/oomwitness/oomwitness/agent/internal/events"
	"github.com/oomwitness/oomwitness/agent/internal/web"
)

// An OOM event with its victims, as log, journal, API, page and trace have it.
type (
	OOMEvent  = events.OOMEvent
	Victim    = events.Victim
	IDs       = events.IDs
	Process   = events.Process
	Memory    = events.Memory
	Cgroup    = events.Cgroup
	Domain    = events.Domain
	Container = events.Container
	Pod       = events.Pod
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

// Size is a number of bytes in four digits or fewer.
func Size(bytes uint64) string { return events.Size(bytes) }
