package journal

import (
	"encoding/json"

	"github.com/oomwitness/oomwitness/agent/events"
)

// Break has every write fail, none where it is nil.
func (j *Journal) Break(err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.fault = err
}

// Encode returns the lines that there are of an OOM event, as the journal has them and
// as encoding/json has them.
func Encode(in *events.OOMEvent) (got, want []byte, err error) {
	for _, kind := range []string{kindOOMEvent, kindPast} {
		for flags := range 4 {
			l := line{Version: version, Kind: kind, OOMEvent: in, Open: flags&1 != 0, Only: flags&2 != 0}
			data, err := json.Marshal(l)
			if err != nil {
				return nil, nil, err
			}
			want = append(append(want, data...), '\n')
			if got, err = l.appendTo(got); err != nil {
				return nil, nil, err
			}
		}
	}
	return got, want, nil
}
