package criconf

import (
	"bytes"
	"fmt"
	"maps"
	"path"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// Diff returns the differences between two configurations, from dumps or from files: one line
// for each key, sorted. It leaves out our handler, the list of imports and the version: install
// changes these.
func Diff(before, after map[string]any, handlers ...string) []string {
	for _, handler := range handlers {
		before, after = without(before, handler), without(after, handler)
	}
	return diff("", before, after)
}

// without returns a configuration without the parts that install changes.
func without(config map[string]any, handler string) map[string]any {
	out := maps.Clone(config)
	delete(out, "imports")
	delete(out, "version")
	for _, plugin := range []string{pluginV1, pluginV2, pluginV3} {
		if runtimes := table(out, "plugins", plugin, "containerd", "runtimes"); runtimes[handler] != nil {
			out = drop(out, "plugins", plugin, "containerd", "runtimes", handler)
		}
	}
	return out
}

// drop returns tables without the entry at the keys, and without tables that are empty then. It
// does not change the argument.
func drop(from map[string]any, keys ...string) map[string]any {
	out := maps.Clone(from)
	if len(keys) == 1 {
		delete(out, keys[0])
		return out
	}
	rest := drop(table(from, keys[0]), keys[1:]...)
	if len(rest) == 0 {
		delete(out, keys[0])
	} else {
		out[keys[0]] = rest
	}
	return out
}

func diff(at string, before, after map[string]any) []string {
	keys := maps.Clone(before)
	if keys == nil {
		keys = map[string]any{}
	}
	maps.Copy(keys, after)
	var out []string
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		was, had := before[key]
		is, has := after[key]
		wasTable, _ := was.(map[string]any)
		isTable, _ := is.(map[string]any)
		name := keyName(key)
		if at != "" {
			name = at + "." + name
		}
		switch {
		case blank(was) && blank(is):
		case inHandler(at) && (!has && isZero(was) || !had && isZero(is)):
		case wasTable != nil && (isTable != nil || !has), isTable != nil && !had:
			out = append(out, diff(name, wasTable, isTable)...)
		case !has:
			out = append(out, fmt.Sprintf("%s: was %s, is gone", name, value(was)))
		case !had:
			out = append(out, fmt.Sprintf("%s: was not there, is %s", name, value(is)))
		case !reflect.DeepEqual(was, is):
			out = append(out, fmt.Sprintf("%s: was %s, is %s", name, value(was), value(is)))
		}
	}
	return out
}

// inHandler reports whether a table is that of a runtime handler. In such a table a missing
// setting equals zero: CRI decodes the options into runc's own type.
func inHandler(at string) bool { return strings.Contains(at, ".containerd.runtimes.") }

func isZero(v any) bool {
	list, isList := v.([]any)
	return isList && len(list) == 0 || !isList && v != nil && reflect.ValueOf(v).IsZero()
}

// blank reports whether a value is absent, or an empty table.
func blank(v any) bool {
	table, isTable := v.(map[string]any)
	for _, value := range table {
		if !blank(value) {
			return false
		}
	}
	return v == nil || isTable
}

// keyName returns a key, quoted if TOML demands quotes.
func keyName(key string) string {
	if bareKey.MatchString(key) {
		return key
	}
	return strconv.Quote(key)
}

// value returns a TOML value on one line.
func value(v any) string {
	text, err := toml.Marshal(map[string]any{"x": v})
	if _, isTable := v.(map[string]any); err != nil || isTable {
		return fmt.Sprint(v)
	}
	return string(bytes.TrimSpace(bytes.TrimPrefix(text, []byte("x = "))))
}

// ownSettings are the settings of our handler that differ from runc's, or that runc's does not
// have.
var ownSettings = []string{"runtime_type", "runtime_path", "pod_annotations", "container_annotations", "options"}

// HasHandler returns an error unless a dump, or a file, has our handler with its settings. The
// error names what is missing. A setting that our handler takes over from runc's may have a new
// name in both: 2.x migrates sandbox_mode of 1.7 to sandboxer.
func HasHandler(dump map[string]any, handler string, settings map[string]any) error {
	for _, plugin := range []string{pluginV3, pluginV2, pluginV1} {
		have := table(dump, "plugins", plugin, "containerd", "runtimes", handler)
		if have == nil {
			continue
		}
		runc := table(dump, "plugins", plugin, "containerd", "runtimes", "runc")
		for key, want := range settings {
			migrated := runc != nil && !slices.Contains(ownSettings, key) && reflect.DeepEqual(have[key], runc[key])
			if !holds(have[key], want) && !migrated {
				return fmt.Errorf("the handler %q has %s = %s, should have %s", handler, key, value(have[key]), value(want))
			}
		}
		return nil
	}
	return fmt.Errorf("the handler %q is missing", handler)
}

// holds reports whether have equals want, or is a table with everything in want. A dump has
// lists as []any and whole numbers as int64.
func holds(have, want any) bool {
	switch want := want.(type) {
	case map[string]any:
		table, _ := have.(map[string]any)
		for key, value := range want {
			if !holds(table[key], value) {
				return false
			}
		}
		return true
	case []string:
		list, _ := have.([]any)
		return slices.EqualFunc(list, want, func(a any, b string) bool { return a == b })
	case string:
		text, _ := have.(string)
		return text == want || path.IsAbs(want) && path.Clean(text) == path.Clean(want)
	}
	return reflect.DeepEqual(have, want)
}

// Text parses a file into TOML tables.
func Text(data []byte) (map[string]any, error) {
	var out map[string]any
	err := toml.Unmarshal(bytes.TrimPrefix(data, byteOrderMark), &out)
	return out, err
}
