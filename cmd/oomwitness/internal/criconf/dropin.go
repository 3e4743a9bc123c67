package criconf

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"path"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

const (
	// ShimName is the shim's file name.
	ShimName = "containerd-shim-oomwitness-v2"
	// DropinName is our drop-in's file name.
	DropinName = "oomwitness.toml"
	// DefaultHandler is our runtime handler's name.
	DefaultHandler = "oomwitness"

	// runcType is the only runtime type to which CRI passes runc's options
	// (GenerateRuntimeOptions in internal/cri/config).
	runcType = "io.containerd.runc.v2"
	// annotations is matched with path.Match against annotation names
	// (GetPassthroughAnnotations in internal/cri/util).
	annotations = "oomwitness.io/*"

	marker    = "# Managed by \"oomwitness install\"."
	sumPrefix = "# sha256 of what follows: "
)

// bareKey is a TOML key that needs no quotes.
var bareKey = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

// handlerName matches the handlers that a RuntimeClass permits: DNS labels.
var handlerName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)

// CheckHandler returns an error for a handler name that Kubernetes would refuse, and for names
// with a meaning in containerd.
func CheckHandler(name string) error {
	if !handlerName.MatchString(name) {
		return fmt.Errorf("runtime name %q: allowed are 1 to 63 lower-case letters, digits and '-', "+
			"beginning and ending with a letter or digit", name)
	}
	if slices.Contains([]string{"runc", "default", "untrusted"}, name) {
		return fmt.Errorf("runtime name %q: containerd has its own meaning for it, choose another", name)
	}
	return nil
}

// Dropin is our registration with containerd.
type Dropin struct {
	// Version is the configuration version: 2 or 3 for a drop-in, 1 or 2 for the file that gets
	// a block.
	Version int
	// Handler is the CRI runtime handler's name.
	Handler string
	// Shim is the shim's path as containerd sees it.
	Shim string
	// ByType registers the shim by its path as runtime_type, for a CRI that does not pass
	// runtime_path on. Such a CRI passes none of runc's options: the shim takes the cgroup
	// driver from the form of the container's cgroup path.
	ByType bool
	// SystemdCgroup chooses runc's cgroup driver.
	SystemdCgroup bool
	// Runc is the node's own runc handler, nil for none. Its plain settings hold for our
	// handler too: a pod then differs in the shim alone.
	Runc map[string]any
	// Keep are handlers that the file must name beside ours: containerd 1.x drops its built-in
	// handlers as soon as a file names one.
	Keep map[string]map[string]any
}

// Render returns the text of a drop-in file. The same input has the same bytes as its result.
func (d Dropin) Render() ([]byte, error) {
	if d.Version != 2 && d.Version != 3 {
		return nil, fmt.Errorf("config version %d: allowed are 2 and 3", d.Version)
	}
	tables, err := d.Tables()
	if err != nil {
		return nil, err
	}
	body := fmt.Appendf(nil, "version = %d\n\n%s", d.Version, tables)
	head := marker + " Changes made here are lost at the next install;\n" +
		"# \"oomwitness uninstall\" removes the file.\n" + sumPrefix + sum(body) + "\n"
	return append([]byte(head), body...), nil
}

// Tables returns the handler's tables. The same input has the same bytes as its result.
func (d Dropin) Tables() ([]byte, error) {
	runtimes := fmt.Sprintf("plugins.%s.containerd.runtimes", pluginKey(d.Version))
	settings := d.Settings()
	options, _ := settings["options"].(map[string]any)
	delete(settings, "options")
	var body bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(d.Keep)) {
		fmt.Fprintf(&body, "# Built into containerd, which drops it as soon as a file names a handler.\n")
		if err := writeHandler(&body, runtimes+"."+name, plain(d.Keep[name]), table(d.Keep[name], "options")); err != nil {
			return nil, err
		}
		body.WriteString("\n")
	}
	if d.ByType {
		fmt.Fprintf(&body, "# The CRI of this containerd starts the shim that runtime_type names.\n")
	} else {
		fmt.Fprintf(&body, "# CRI hands runc's options to runtime_type %s alone;\n"+
			"# runtime_path is what makes it oomwitness.\n", runcType)
	}
	if err := writeHandler(&body, runtimes+"."+d.Handler, settings, options); err != nil {
		return nil, err
	}
	return body.Bytes(), nil
}

// Lost returns the options of the node's runc handler that are lost with ByType.
func (d Dropin) Lost() []string {
	if !d.ByType {
		return nil
	}
	options := plain(table(d.Runc, "options"))
	delete(options, "SystemdCgroup")
	maps.DeleteFunc(options, func(_ string, value any) bool { return reflect.ValueOf(value).IsZero() })
	return slices.Sorted(maps.Keys(options))
}

// Settings returns the settings of the handler, with its options.
func (d Dropin) Settings() map[string]any {
	settings := plain(d.Runc)
	delete(settings, "options")
	settings["runtime_type"] = runcType
	settings["runtime_path"] = d.Shim
	for _, key := range []string{"pod_annotations", "container_annotations"} {
		settings[key] = withOurs(d.Runc[key])
	}
	if d.ByType {
		settings["runtime_type"] = d.Shim
		delete(settings, "runtime_path")
		return settings
	}
	options := plain(table(d.Runc, "options"))
	options["SystemdCgroup"] = d.SystemdCgroup
	settings["options"] = options
	return settings
}

// plain returns the settings that are strings, booleans and numbers.
func plain(from map[string]any) map[string]any {
	out := maps.Clone(from)
	maps.DeleteFunc(out, func(_ string, value any) bool {
		switch value.(type) {
		case string, bool, int64, float64:
			return false
		}
		return true
	})
	if out == nil {
		out = map[string]any{}
	}
	return out
}

// withOurs appends our annotation pattern to the node's own patterns.
func withOurs(value any) []string {
	var out []string
	list, _ := value.([]any)
	for _, item := range list {
		if text, ok := item.(string); ok && text != annotations {
			out = append(out, text)
		}
	}
	return append(out, annotations)
}

// writeHandler writes the table of a handler, and that of its options if it has any.
func writeHandler(to *bytes.Buffer, name string, settings, options map[string]any) error {
	fmt.Fprintf(to, "[%s]\n", name)
	if err := writeKeys(to, settings); err != nil || options == nil {
		return err
	}
	fmt.Fprintf(to, "\n[%s.options]\n", name)
	return writeKeys(to, options)
}

// writeKeys writes settings in a fixed order.
func writeKeys(to *bytes.Buffer, settings map[string]any) error {
	first := []string{"runtime_type", "runtime_path"}
	keys := slices.Sorted(maps.Keys(settings))
	slices.SortStableFunc(keys, func(a, b string) int {
		return rank(first, a) - rank(first, b)
	})
	for _, key := range keys {
		line, err := toml.Marshal(map[string]any{key: settings[key]})
		if err != nil {
			return fmt.Errorf("setting %s: %w", key, err)
		}
		to.Write(line)
	}
	return nil
}

func rank(first []string, key string) int {
	if i := slices.Index(first, key); i >= 0 {
		return i
	}
	return len(first)
}

func sum(body []byte) string {
	digest := sha256.Sum256(body)
	return hex.EncodeToString(digest[:])
}

// Ours reports whether install wrote the file.
func Ours(data []byte) bool {
	return bytes.HasPrefix(data, []byte(marker))
}

// Altered reports whether a file of ours was changed after install wrote it.
func Altered(data []byte) bool {
	head, body, found := strings.Cut(string(data), sumPrefix)
	want, body, ok := strings.Cut(body, "\n")
	return !found || !ok || strings.Count(head, "\n") != 2 || want != sum([]byte(body))
}

// Registered returns an error unless a file registers handler with the shim at path, by either
// of the settings that can name it. The error is for the operator.
func (file File) Registered(handler, shim string) error {
	settings := file.Runtimes[handler]
	if settings == nil {
		return fmt.Errorf("%s has no runtime %q", file.Path, handler)
	}
	kind, _ := settings["runtime_type"].(string)
	named, _ := settings["runtime_path"].(string)
	if path.IsAbs(kind) && named == "" {
		named, kind = kind, runcType
	}
	if kind != runcType {
		return fmt.Errorf("%s: runtime_type is %q, has to be %q", file.Path, kind, runcType)
	}
	if path.Clean(named) != path.Clean(shim) {
		return fmt.Errorf("%s: runtime_path is %q, the shim is %q", file.Path, named, shim)
	}
	return nil
}

// ShimPath returns the path of the shim in a file's handler, or "".
func (file File) ShimPath(handler string) string {
	for _, key := range []string{"runtime_path", "runtime_type"} {
		if shim, _ := file.Runtimes[handler][key].(string); path.IsAbs(shim) {
			return shim
		}
	}
	return ""
}

// Starts reports whether any handler of a file starts the shim at a path.
func (file File) Starts(shim string) bool {
	for handler := range file.Runtimes {
		if found := file.ShimPath(handler); found != "" && path.Clean(found) == path.Clean(shim) {
			return true
		}
	}
	return false
}

// OptionSystemdCgroup reports whether a file's handler has the systemd cgroup driver.
func (file File) OptionSystemdCgroup(handler string) bool {
	value, _ := table(file.Runtimes[handler], "options")["SystemdCgroup"].(bool)
	return value
}
