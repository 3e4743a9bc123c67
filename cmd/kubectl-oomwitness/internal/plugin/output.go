package plugin

import (
	"encoding/json"

	"sigs.k8s.io/yaml"
)

// write writes a value in the format that is asked for: as JSON or YAML, else by text. Each
// document of YAML after the first has a line --- ahead, as YAML wants in a stream.
func (o *options) write(value any, text func() error) error {
	var out []byte
	var err error
	switch o.output {
	case "json":
		out, err = json.MarshalIndent(value, "", "  ")
		out = append(out, '\n')
	case "yaml":
		out, err = yaml.Marshal(value)
		if o.documents++; o.documents > 1 {
			out = append([]byte("---\n"), out...)
		}
	default:
		err = text()
	}
	if err == nil {
		_, err = o.Out.Write(out)
	}
	return err
}
