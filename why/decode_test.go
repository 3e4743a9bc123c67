package why_test

import (
	"encoding/json"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/why"
)

// FuzzDecode: whatever answers at the agent's port, the page is written or the answer is
// refused.
func FuzzDecode(f *testing.F) {
	for _, c := range cases {
		body, err := json.Marshal(c.d)
		require.NoError(f, err)
		f.Add(body)
	}
	f.Add([]byte(`{"schema":1,"runs":[{"oom_event":{"victims":[{}],"kinds":[{"name":"\u001b[2J","bytes":18446744073709551615},{"bytes":2}]}}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		d, err := why.Decode(body)
		if err != nil {
			return
		}
		for i := range d.Runs {
			d.Runs[i].Advise()
		}
		for _, o := range []why.Options{{}, {Wide: true}, {Previous: true, Columns: 40}} {
			require.NoError(t, d.Write(io.Discard, o))
		}
		d.OOMKilled(true)
	})
}

func TestDecodeRefuses(t *testing.T) {
	for body, want := range map[string]string{
		``: "not the JSON of an agent", `{}`: "schema 0: allowed is 1", `<html>`: "not the JSON", `{"schema":2}`: "schema 2",
	} {
		_, err := why.Decode([]byte(body))
		require.ErrorContains(t, err, want)
	}
	many, err := json.Marshal(why.Document{Schema: why.Schema, Runs: make([]why.Run, why.MaxRuns+1)})
	require.NoError(t, err)
	_, err = why.Decode(many)
	require.ErrorContains(t, err, "51 runs: allowed are 50")
}
