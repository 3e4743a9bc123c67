// Package docker registers the shim as a runtime of dockerd: it edits daemon.json, and asks
// dockerd for its version, its runtimes and its check of the edited file.
package docker

import (
	"encoding/json"
	"fmt"
	"path"
	"strings"

	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/criconf"
)

const (
	// DefaultConfig is dockerd's configuration file without --config-file.
	DefaultConfig = "/etc/docker/daemon.json"
	// DefaultSocket is the socket of dockerd's API.
	DefaultSocket = "/var/run/docker.sock"
	// RuntimeType is the name by which containerd finds the shim on its PATH.
	RuntimeType = "io.containerd.oomwitness.v2"

	runtimesKey = "runtimes"
	defaultKey  = "default-runtime"
	typeKey     = "runtimeType"
)

// Runtime is the shim as a runtime of dockerd.
type Runtime struct {
	// Name is the value of `docker run --runtime`.
	Name string
	// Shim is the absolute path of the shim. dockerd from 24.0 on takes a path as
	// runtimeType (initRuntimes in daemon/runtime_unix.go: "no restriction on configuring
	// a shim by path"), and containerd from 1.6 on starts the shim by the path.
	Shim string
	// Default makes the shim the runtime of containers that name no runtime.
	Default bool
}

// Registration is the content of a daemon.json for a runtime's name.
type Registration struct {
	// Found reports whether there is a runtime of that name. Ours reports whether the runtime
	// is this project's shim.
	Found, Ours bool
	// Type is the runtimeType: the path of a shim or a name.
	Type string
	// Default is the file's default-runtime, "" for none.
	Default string
}

// Read returns the registration of the runtime name in the daemon.json text.
func Read(text []byte, name string) (Registration, error) {
	var r Registration
	d, err := parse(text)
	if err != nil {
		return r, err
	}
	if i := d.root.find(defaultKey); i >= 0 {
		m := d.root.members[i]
		if err := json.Unmarshal(d.text[m.value:m.end], &r.Default); err != nil {
			return r, d.errorAt(m.value, "%s has to be a string, is %s", defaultKey, kind(d.text[m.value]))
		}
	}
	runtimes, found, err := d.runtimes()
	if err != nil || !found {
		return r, err
	}
	i := runtimes.find(name)
	if i < 0 {
		return r, nil
	}
	r.Found = true
	m := runtimes.members[i]
	var entry map[string]json.RawMessage
	if err := json.Unmarshal(d.text[m.value:m.end], &entry); err != nil {
		return r, d.errorAt(m.value, "the runtime %q has to be an object, is %s", name, kind(d.text[m.value]))
	}
	if json.Unmarshal(entry[typeKey], &r.Type) == nil && entry["path"] == nil {
		r.Ours = r.Type == RuntimeType || path.Base(r.Type) == criconf.ShimName
	}
	return r, nil
}

// Names returns the names of all runtimes in the daemon.json text that are this project's shim.
func Names(text []byte) (names []string, err error) {
	d, err := parse(text)
	if err != nil {
		return nil, err
	}
	runtimes, _, err := d.runtimes()
	for _, m := range runtimes.members {
		if r, err := Read(text, m.key); err == nil && r.Ours {
			names = append(names, m.key)
		}
	}
	return names, err
}

// Register returns the daemon.json text with the runtime r. Everything else in the text stays,
// byte for byte. It refuses a runtime of the same name that is another program, unless force is
// set.
func Register(text []byte, r Runtime, force bool) ([]byte, error) {
	have, err := Read(text, r.Name)
	if err != nil {
		return nil, err
	}
	if have.Found && !have.Ours && !force {
		return nil, fmt.Errorf("a runtime named %q is there and is not oomwitness: "+
			"choose another name with --runtime-name, or replace it with --force", r.Name)
	}
	if have.Found && have.Ours && have.Type == r.Shim {
		return r.asDefault(text, have)
	}
	d, err := parse(text)
	if err != nil {
		return nil, err
	}
	entry := map[string]string{typeKey: r.Shim}
	runtimes, found, err := d.runtimes()
	switch {
	case err != nil:
		return nil, err
	case !found:
		text = d.set(d.root, runtimesKey, map[string]any{r.Name: entry})
	case have.Ours:
		// Other options of the runtime are the owner's, and stay.
		ours, err := d.object(runtimes.members[runtimes.find(r.Name)].value)
		if err != nil {
			return nil, err
		}
		text = d.set(ours, typeKey, r.Shim)
	default:
		text = d.set(runtimes, r.Name, entry)
	}
	return r.asDefault(text, have)
}

// asDefault makes r the default runtime if r.Default is set.
func (r Runtime) asDefault(text []byte, have Registration) ([]byte, error) {
	if !r.Default || have.Default == r.Name {
		return text, nil
	}
	d, err := parse(text)
	if err != nil {
		return nil, err
	}
	return d.set(d.root, defaultKey, r.Name), nil
}

// Unregister returns the daemon.json text without the runtime name, and reports whether the
// text had the runtime and the runtime is oomwitness. If it is the default runtime, the default
// becomes formerDefault, "" for dockerd's own. If Register made the text out of before, and
// nobody has changed the text since, the result is before.
func Unregister(text, before []byte, name string) (out []byte, removed bool, err error) {
	have, err := Read(text, name)
	if err != nil || !have.Ours {
		return text, false, err
	}
	var formerDefault string
	if former, err := Read(before, name); err == nil {
		formerDefault = former.Default
		// A default that the owner has removed since does not come back.
		if was, _ := Read(before, formerDefault); was.Found {
			if is, _ := Read(text, formerDefault); !is.Found {
				formerDefault = ""
			}
		}
		again, err := Register(before, Runtime{Name: name, Shim: have.Type, Default: have.Default == name}, true)
		if err == nil && string(again) == string(text) {
			return before, true, nil
		}
	}
	d, err := parse(text)
	if err != nil {
		return nil, false, err
	}
	runtimes, _, err := d.runtimes()
	if err != nil {
		return nil, false, err
	}
	if len(runtimes.members) > 1 {
		text = d.remove(runtimes, runtimes.find(name))
	} else {
		text = d.remove(d.root, d.root.find(runtimesKey))
	}
	if have.Default != name {
		return text, true, nil
	}
	if d, err = parse(text); err != nil {
		return nil, false, err
	}
	if formerDefault != "" {
		return d.set(d.root, defaultKey, formerDefault), true, nil
	}
	return d.remove(d.root, d.root.find(defaultKey)), true, nil
}

// runtimes returns the object of all runtimes, and reports whether the file has one.
func (d document) runtimes() (object, bool, error) {
	for _, m := range d.root.members {
		if m.key != runtimesKey && strings.EqualFold(m.key, runtimesKey) {
			return object{}, false, d.errorAt(m.start, "the key %q: dockerd knows %q alone", m.key, runtimesKey)
		}
	}
	i := d.root.find(runtimesKey)
	if i < 0 {
		return object{}, false, nil
	}
	m := d.root.members[i]
	if d.text[m.value] != '{' {
		return object{}, false, d.errorAt(m.value, "%s has to be an object, is %s", runtimesKey, kind(d.text[m.value]))
	}
	o, err := d.object(m.value)
	return o, true, err
}
