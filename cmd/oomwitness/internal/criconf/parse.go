package criconf

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// Parse parses one configuration file. It fails if containerd would fail: for bad TOML, wrong
// types, a negative version.
func Parse(name string, data []byte) (File, error) {
	var raw struct {
		Version  int            `toml:"version"`
		Imports  []string       `toml:"imports"`
		Disabled []string       `toml:"disabled_plugins"`
		Plugins  map[string]any `toml:"plugins"`
	}
	if err := toml.Unmarshal(bytes.TrimPrefix(data, byteOrderMark), &raw); err != nil {
		return File{}, parseError(name, err)
	}
	if raw.Version < 0 {
		return File{}, fmt.Errorf("%s: version is %d, allowed are 2 and higher", name, raw.Version)
	}
	file := File{
		Path: name, Version: raw.Version, Imports: raw.Imports, Disabled: raw.Disabled,
		Runtimes: map[string]map[string]any{}, plugins: raw.Plugins, byteOrderMark: bytes.HasPrefix(data, byteOrderMark),
	}
	for _, plugin := range []string{pluginV1, pluginV2, pluginV3} {
		for handler, value := range table(raw.Plugins, plugin, "containerd", "runtimes") {
			if settings, ok := value.(map[string]any); ok {
				merge(file.Runtimes, handler, settings)
			}
		}
	}
	return file, nil
}

// types are the types that containerd demands of the keys that Parse reads.
var types = map[string]string{
	"version": "a whole number", "imports": "a list of strings", "disabled_plugins": "a list of strings", "plugins": "a table",
}

// parseError returns an error of the TOML library with the line. Its own words for a wrong type
// are those of this program's types.
func parseError(name string, err error) error {
	pos, ok := errors.AsType[*toml.DecodeError](err)
	if !ok {
		return fmt.Errorf("%s: %w", name, err)
	}
	row, column := pos.Position()
	if key := pos.Key(); len(key) > 0 && strings.Contains(err.Error(), "struct field") {
		err = fmt.Errorf("%s has to be %s", key[0], types[strings.ToLower(key[0])])
	}
	return fmt.Errorf("%s: line %d, column %d: %w", name, row, column, err)
}
