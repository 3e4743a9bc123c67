package criconf

import (
	"fmt"
	"maps"
	"reflect"
)

// Legacy is the file that decides CRI's settings for containerd 1.x. There the last file with a
// section of a plugin replaces the whole section (mergeConfig in services/server/config of 1.6
// and 1.7). Our handler has to go into that file, and no other file counts.
type Legacy struct {
	// Config has that file alone.
	Config
	// File is the path of that file, which need not exist.
	File string
	// Version is the version of all files together: 1 or 2.
	Version int
}

// Legacy returns the file that decides CRI's settings for containerd 1.x.
func (c Config) Legacy() Legacy {
	out := Legacy{File: c.Path, Version: 1, Config: Config{Path: c.Path, Exists: c.Exists}}
	for _, file := range c.Files {
		if file.Version != 0 {
			out.Version = file.Version
		}
	}
	if !c.Exists {
		out.Version = 2
	}
	for i, file := range c.Files {
		if _, has := file.plugins[pluginName(out.Version)]; has || i == 0 {
			out.File, out.Files = file.Path, []File{file}
		}
	}
	return out
}

// BuiltIn returns the handlers that would be lost: those that containerd has built in and the
// file does not name. dump is containerd's configuration before our handler was added. Without
// a dump it returns the built-in handlers of 1.6 and 1.7.
func (l Legacy) BuiltIn(dump map[string]any, handler string) map[string]map[string]any {
	for _, file := range l.Files {
		named := maps.Clone(table(file.plugins, pluginName(l.Version), "containerd", "runtimes"))
		delete(named, handler)
		if len(named) > 0 {
			return nil
		}
	}
	out := map[string]map[string]any{}
	for name, value := range table(dump, "plugins", pluginV2, "containerd", "runtimes") {
		if settings, ok := value.(map[string]any); ok && name != handler {
			kept := plain(settings)
			maps.DeleteFunc(kept, func(_ string, value any) bool { return reflect.ValueOf(value).IsZero() })
			kept["options"] = plain(table(settings, "options"))
			out[name] = kept
		}
	}
	if len(out) == 0 {
		out["runc"] = map[string]any{"runtime_type": runcType, "options": map[string]any{}}
	}
	return out
}

// pluginName is the CRI plugin's name in files of a version.
func pluginName(version int) string {
	switch version {
	case 1:
		return pluginV1
	case 2:
		return pluginV2
	}
	return pluginV3
}

// pluginKey returns that name as a part of a dotted key.
func pluginKey(version int) string {
	if version == 1 {
		return pluginV1
	}
	return fmt.Sprintf("'%s'", pluginName(version))
}
