package notify

import "github.com/oomwitness/oomwitness/agent/internal/events"

// Message returns the text about one victim of an OOM event: what was killed and why.
func Message(in *events.OOMEvent, v *events.Victim) string {
	alone := *in
	alone.Victims = []events.Victim{*v}
	return message(&alone, alone.Victims)
}
