package journal

import (
	"encoding/json"

	"github.com/oomwitness/oomwitness/agent/incident"
)

// Break has every write fail, none where it is nil.
func (j *Journal) Break(err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.fault = err
}

// Encode gives the line of an incident as the journal has it, and as encoding/json
// has it.
func Encode(in *incident.Incident, open bool) (line1, line2 []byte, err error) {
	l := line{Version: version, Kind: kindIncident, Incident: in, Open: open}
	if line2, err = json.Marshal(l); err != nil {
		return nil, nil, err
	}
	line1, err = l.appendTo(nil)
	return line1, append(line2, '\n'), err
}
