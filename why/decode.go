package why

import (
	"encoding/json"
	"errors"
	"fmt"
)

// MaxAnswer bounds the JSON form of a Document, in bytes.
const MaxAnswer = 8 << 20

// Decode reads the JSON form of a Document. The text in the document is as its writer
// chose it: Document.Write escapes the text.
func Decode(body []byte) (*Document, error) {
	if len(body) > MaxAnswer {
		return nil, fmt.Errorf("the answer has more than %d bytes", MaxAnswer)
	}
	var d Document
	if err := json.Unmarshal(body, &d); err != nil {
		return nil, errors.New("the answer is not the JSON of an agent")
	}
	if d.Schema != Schema {
		return nil, fmt.Errorf("the answer has schema %d: allowed is %d", d.Schema, Schema)
	}
	if len(d.Runs) > MaxRuns {
		return nil, fmt.Errorf("the answer has %d runs: allowed are %d", len(d.Runs), MaxRuns)
	}
	return &d, nil
}
