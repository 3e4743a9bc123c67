package events

import (
	"github.com/oomwitness/oomwitness/agent/jsonline"
	"github.com/oomwitness/oomwitness/agent/kill"
)

// AppendJSON appends what json.Marshal returns: an error is one of its too.
func (in *OOMEvent) AppendJSON(b []byte) ([]byte, error) {
	b = append(b, '{')
	b = jsonline.Int(b, "schema", int64(in.Schema))
	b = jsonline.String(b, "id", in.ID)
	b, err := jsonline.Time(jsonline.Key(b, "time"), in.Time)
	if err != nil {
		return b, err
	}
	b = jsonline.Uint(b, "boot_ns", in.BootNS)
	b = jsonline.Uint(b, "event", in.Event)
	b = jsonline.String(b, "cause", string(in.Cause))
	b = jsonline.String(b, "tier", in.Tier)
	b = in.Domain.AppendJSON(jsonline.Key(b, "domain"))
	b = jsonline.Maybe(b, "limit_bytes", in.Limit)
	b = jsonline.Maybe(b, "usage_bytes", in.Usage)
	b = kill.AppendProcess(jsonline.Key(b, "trigger"), &in.Trigger)
	b = AppendVictims(jsonline.Key(b, "victims"), in.Victims)
	return append(b, '}'), nil
}

// AppendVictims appends what json.Marshal returns for them.
func AppendVictims(b []byte, list []Victim) []byte {
	if list == nil {
		return append(b, "null"...)
	}
	b = append(b, '[')
	for i := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = list[i].appendJSON(b)
	}
	return append(b, ']')
}

func (v *Victim) appendJSON(b []byte) []byte {
	b = kill.AppendVictimFields(append(b, '{'), &v.Victim)
	b = jsonline.Uint(b, "index", uint64(v.Index))
	b = v.Memory.AppendJSON(jsonline.Key(b, "memory"))
	b = v.Cgroup.AppendJSON(jsonline.Key(b, "cgroup"))
	b = v.Container.AppendJSON(jsonline.Key(b, "container"))
	b = v.Pod.AppendJSON(jsonline.Key(b, "pod"))
	b = jsonline.Optional(b, "unit", v.Unit)
	return append(b, '}')
}
