// Package criconf reads the parts of containerd's configuration that decide
// whether and how a runtime handler is registered, and writes ours.
//
// How containerd 2.0 to 2.4 load it (cmd/containerd/server/config/config.go
// and cmd/containerd/command/main.go there), tried with each one's own
// "containerd config dump" and by starting it (integration/configs):
//
//   - Only what the loaded files themselves list under imports is included.
//     The default "/etc/containerd/conf.d/*.toml" that "containerd config
//     dump" shows from 2.2 on is in the built-in configuration alone, and is
//     never resolved: a config.toml without imports, or no config.toml at all,
//     includes nothing.
//   - Imported files merge by key (mergo, with override): a file that adds
//     runtimes.oomwitness leaves runtimes.runc as it was, and lists inside
//     plugin tables are replaced, not appended.
//   - The version of an imported file has to be the main file's. Up to 2.2 the
//     last file's version counts for all, so a version 3 file beside a
//     version 2 main makes them ignore the CRI settings of the main one; 2.3.0
//     refuses to start when an imported file's version is higher. A version 3
//     file beside a version 4 main is migrated, and works. So does one beside a
//     main file of version 1, or of none, which are migrated by themselves.
//   - 2.0 to 2.2 read files up to version 3, later ones up to 4.
//
// How 1.6 and 1.7 load it (services/server/config/config.go there): the section
// of a plugin in an imported file replaces that of the files before as a whole;
// a section that names a runtime handler drops the built-in one; a file
// without a version is of version 1, where the CRI plugin is "cri".
package criconf

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/rootfs"
)

// DefaultPath is where containerd looks for its configuration.
const DefaultPath = "/etc/containerd/config.toml"

// DefaultDropinDir is the directory that containerd's default imports name.
const DefaultDropinDir = "/etc/containerd/conf.d"

// The CRI plugin's names, by configuration version.
const (
	pluginV1 = "cri"
	pluginV2 = "io.containerd.grpc.v1.cri"
	pluginV3 = "io.containerd.cri.v1.runtime"
)

// maxFiles limits the number of files in a chain of imports.
const maxFiles = 1024

// File is one configuration file.
type File struct {
	// Path is the file's path as seen from inside the root.
	Path string
	// Version is the version in the file, 0 if the file has none.
	Version int
	// Imports are the patterns as written.
	Imports []string
	// Disabled are the disabled plugins as written.
	Disabled []string
	// Runtimes are the CRI runtime handlers that the file mentions.
	Runtimes map[string]map[string]any
	// Marked reports whether the file has our block. The other fields leave the content of the
	// block out.
	Marked bool
	// Created reports whether install created the file, and nobody altered it.
	Created bool
	// byteOrderMark reports whether the file begins with a byte order mark.
	byteOrderMark bool
	// plugins is the whole table plugins.
	plugins map[string]any
}

// table returns the table at nested keys, and nil if one is missing.
func table(from map[string]any, keys ...string) map[string]any {
	for _, key := range keys {
		from, _ = from[key].(map[string]any)
	}
	return from
}

// merge merges settings into those that handler has, and options key by key, as containerd
// does.
func merge(into map[string]map[string]any, handler string, settings map[string]any) {
	if into[handler] == nil {
		into[handler] = map[string]any{}
	}
	for key, value := range settings {
		add, isTable := value.(map[string]any)
		have, hadTable := into[handler][key].(map[string]any)
		if isTable && hadTable {
			both := maps.Clone(have)
			maps.Copy(both, add)
			value = both
		}
		into[handler][key] = value
	}
}

// resolve returns the pattern of an import as an absolute path. A relative pattern starts at
// the importing file's directory.
func resolve(parent, pattern string) string {
	pattern = filepath.Clean(pattern)
	if !filepath.IsAbs(pattern) {
		pattern = filepath.Join(filepath.Dir(parent), pattern)
	}
	return pattern
}

// covers reports whether file imports target. As in containerd, a name is a pattern only if it
// has a *.
func (file File) covers(target string) bool {
	for _, pattern := range file.Imports {
		pattern = resolve(file.Path, pattern)
		if !strings.Contains(pattern, "*") {
			if pattern == target {
				return true
			}
			continue
		}
		if ok, err := path.Match(pattern, target); ok && err == nil {
			return true
		}
	}
	return false
}

// Config is the main configuration file with everything it imports.
type Config struct {
	// Path is the main file's path as seen from inside the root.
	Path string
	// Exists reports whether there is a main file. Without one containerd runs
	// on its built-in configuration and imports nothing.
	Exists bool
	// Files are the main file and the imported ones, in the order in which
	// containerd merges them.
	Files []File
}

// Load reads the main configuration file and its imports. It leaves our block out of each file.
// It does not read the file skip, our own drop-in: a damaged drop-in must not prevent its
// repair. A missing main file is no error. A missing file that is imported by its name, without
// a pattern, is an error: containerd would not start.
func Load(root rootfs.Dir, main, skip string) (Config, error) {
	config := Config{Path: main}
	seen := map[string]bool{skip: true}
	for pending := []string{main}; len(pending) > 0; pending = pending[1:] {
		name := pending[0]
		if seen[name] {
			continue
		}
		seen[name] = true
		data, err := root.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) && name == main {
			return config, nil
		}
		if errors.Is(err, fs.ErrNotExist) {
			return config, fmt.Errorf("containerd configuration: %s is imported and is missing", name)
		}
		if err != nil {
			return config, fmt.Errorf("containerd configuration: %w", err)
		}
		without := cutBlock(data)
		file, err := Parse(name, without)
		if err != nil {
			return config, fmt.Errorf("containerd configuration: %w", err)
		}
		file.Marked = len(without) != len(data)
		rest, _, err := Cut(data)
		file.Created = err == nil && Created(rest)
		config.Exists = true
		config.Files = append(config.Files, file)
		if len(config.Files) > maxFiles {
			return config, fmt.Errorf("containerd configuration: %s imports more than %d files", main, maxFiles)
		}
		imports, err := file.expand(root)
		if err != nil {
			return config, err
		}
		pending = append(pending, imports...)
	}
	return config, nil
}

// expand returns the files that file imports.
func (file File) expand(root rootfs.Dir) ([]string, error) {
	var out []string
	for _, pattern := range file.Imports {
		pattern = resolve(file.Path, pattern)
		if !strings.Contains(pattern, "*") {
			out = append(out, pattern)
			continue
		}
		matches, err := root.Glob(pattern)
		if err != nil {
			return nil, fmt.Errorf("containerd configuration: %s: imports %q: %w", file.Path, pattern, err)
		}
		out = append(out, matches...)
	}
	return out, nil
}

// Covers reports whether containerd includes the file target.
func (c Config) Covers(target string) bool {
	return slices.ContainsFunc(c.Files, func(file File) bool { return file.covers(target) })
}

// ImportAdvice returns advice for the operator: what to change so that containerd includes
// the files of dir, with a drop-in of a version. The advice ends with the line to paste.
func (c Config) ImportAdvice(dir string, version int) string {
	imports := []string{filepath.Join(dir, "*.toml")}
	if !c.Exists {
		return fmt.Sprintf("create %s with these two lines:\n    version = %d\n    imports = [%q]", c.Path, version, imports[0])
	}
	what := "above the first table, add this line"
	if main := c.Files[0]; main.Imports != nil {
		what = "replace imports and its list by this line"
		imports = append(imports, main.Imports...)
	}
	quoted := make([]string, len(imports))
	for i, pattern := range imports {
		quoted[i] = strconv.Quote(pattern)
	}
	return fmt.Sprintf("in %s, %s:\n    imports = [%s]", c.Path, what, strings.Join(quoted, ", "))
}

// Runtime returns the settings of a CRI runtime handler, merged over all files, and the last
// file that names it; nil and "" if none does.
func (c Config) Runtime(handler string) (map[string]any, string) {
	var (
		all  = map[string]map[string]any{}
		from string
	)
	for _, file := range c.Files {
		if settings, ok := file.Runtimes[handler]; ok {
			merge(all, handler, settings)
			from = file.Path
		}
	}
	return all[handler], from
}

// CRIDisabled returns the file that disables the CRI plugin, or "".
func (c Config) CRIDisabled() string {
	for _, file := range c.Files {
		for _, plugin := range file.Disabled {
			if plugin == pluginV1 || plugin == pluginV2 || plugin == pluginV3 {
				return file.Path
			}
		}
	}
	return ""
}
