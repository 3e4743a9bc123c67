//go:build linux

package configs

import "strings"

// shape is a way to configure a node's containerd. In each text DIR stands for the directory of
// the main file.
type shape struct {
	name string
	// main is the main file, "" for none.
	main string
	// files are the other files, by their path in DIR.
	files map[string]string
	// link says that the main file is a symbolic link to a file elsewhere.
	link bool
	// starts reports whether the containerd of a version starts with these files before
	// install.
	starts func(v version) bool
	// refused returns a part of install's refusal, "" if the handler is merged.
	refused func(v version) string
}

// Settings of CRI that a drop-in on containerd 1.x removes, in each version of the file.
const (
	settings1 = `
[plugins.cri]
sandbox_image = "example.invalid/pause:1"
[plugins.cri.containerd]
default_runtime_name = "runc"
[plugins.cri.containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins.cri.containerd.runtimes.runc.options]
SystemdCgroup = true
[plugins.cri.containerd.runtimes.other]
runtime_type = "io.containerd.other.v2"
`
	settings2 = `
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "example.invalid/pause:1" # ours
max_container_log_line_size = 4096
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = true
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.other]
runtime_type = "io.containerd.other.v2"
`
	settings3 = `
[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = "example.invalid/pause:1"
[plugins.'io.containerd.cri.v1.runtime']
enable_selinux = false
max_container_log_line_size = 4096
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
SystemdCgroup = true
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.other]
runtime_type = "io.containerd.other.v2"
`
	ownList = "imports = [\n\t# what the node's owner wants\n\t\"DIR/own/*.toml\", # first\n]\n"
)

// own is a file that the owner's list imports.
var own = map[string]string{"own/a.toml": "version = 2\noom_score = -999\n"}

func always(version) bool { return true }

func merged(version) string { return "" }

// upTo returns shape functions for a file's version: a containerd that cannot read that version
// does not start, and install refuses.
func upTo(file int) (starts func(version) bool, refused func(version) string) {
	// containerd 1.6 ignores the number.
	return func(v version) bool { return v.reads() >= file || v == version{1, 6} },
		func(v version) string {
			if v.reads() < file {
				return "reads versions up to"
			}
			return ""
		}
}

// on returns a function that expects a refusal on one major version of containerd.
func on(major int, text string) func(version) string {
	return func(v version) string {
		if v.major == major {
			return text
		}
		return ""
	}
}

// crlf returns the shape with CR LF as its line break.
func crlf(s shape) shape {
	s.name += ", CRLF"
	s.main = strings.ReplaceAll(s.main, "\n", "\r\n")
	return s
}

func shapes() []shape {
	return append(append(basic(), lists()...), odd()...)
}

// basic returns the versions of the file.
func basic() []shape {
	starts3, refused3 := upTo(3)
	starts4, refused4 := upTo(4)
	three := strings.Replace(settings3, "enable_selinux = false\n", "", 1)
	return []shape{
		{name: "no file", starts: always, refused: merged},
		{name: "empty file", main: "\n", starts: always, refused: merged},
		{name: "comments only", main: "# nothing here\n#imports = []\n", starts: always, refused: merged},
		{name: "no version", main: settings1, starts: always, refused: merged},
		{name: "no version, names of version 2", main: settings2, starts: always, refused: merged},
		{name: "version 1", main: "version = 1\n" + settings1, starts: always, refused: merged},
		{name: "version 2", main: "version = 2\n" + settings2, starts: always, refused: merged},
		{name: "version 2, no CRI settings", main: "version = 2\noom_score = -999\n", starts: always, refused: merged},
		{name: "version 3", main: "version = 3\n" + settings3, starts: starts3, refused: refused3},
		{name: "version 4", main: "version = 4\n" + three, starts: starts4, refused: refused4},
		{name: "CRI disabled", main: "version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n" + settings2,
			starts: always, refused: merged},
		{name: "a symbolic link", main: "version = 2\n" + settings2, link: true, starts: always, refused: merged},
		crlf(shape{name: "version 2", main: "version = 2\n" + settings2, starts: always, refused: merged}),
	}
}

// lists returns the ways to import files.
func lists() []shape {
	starts3, refused3 := upTo(3)
	return []shape{
		{name: "imports empty", main: "version = 2\nimports = []\n" + settings2, starts: always, refused: merged},
		{name: "imports of version 3 empty", main: "version = 3\nimports = [ ] # none\n" + settings3, starts: starts3, refused: refused3},
		{name: "imports the folder", main: "version = 2\nimports = [\"DIR/conf.d/*.toml\"]\n" + settings2, starts: always, refused: merged},
		{name: "imports of version 3 the folder", main: "version = 3\nimports = ['DIR/conf.d/*.toml']\n" + settings3, starts: starts3, refused: refused3},
		{name: "own list", main: "version = 2\nimports = [\"DIR/own/a.toml\"]\n" + settings2, files: own, starts: always, refused: merged},
		{name: "own list, many lines, comments", main: "version = 2\n" + ownList + settings2, files: own, starts: always, refused: merged},
		crlf(shape{name: "own list, many lines", main: "version = 2\n" + ownList + settings2, files: own, starts: always, refused: merged}),
		{name: "own list in quotes, last key", main: "version = 2\nroot = '/x'\n\"imports\"=[\"DIR/own/a.toml\"]#\n" + settings2,
			files: own, starts: always, refused: merged},
		{name: "CRI settings in an imported file", main: "version = 2\nimports = [\"DIR/own/*.toml\"]\n",
			files: map[string]string{"own/a.toml": "version = 2\n" + settings2}, starts: always, refused: merged},
		{name: "another file in the folder", main: "version = 2\n" + settings2,
			files: map[string]string{"conf.d/own.toml": "version = 2\noom_score = -123\n"}, starts: always,
			refused: on(2, "oom_score: was 0, is -123")},
	}
}

// odd returns files that are hard to edit, or that install must not edit.
func odd() []shape {
	never := func(version) bool { return false }
	const cri2 = `[plugins."io.containerd.grpc.v1.cri".containerd`
	return []shape{
		{name: "no line break at the end", main: "version = 2\n" + strings.TrimSpace(settings2), starts: always, refused: merged},
		{name: "a comment at the end", main: "version = 2\n" + settings2 + "# the end", starts: always, refused: merged},
		{name: "runtimes inline", main: "version = 2\n" + cri2 + "]\nruntimes = {runc = {runtime_type = \"io.containerd.runc.v2\"}}\n",
			starts: always, refused: on(1, "write runtimes and the tables above it as tables with headers")},
		{name: "dotted keys", main: "version = 2\n" + cri2 + "]\nruntimes.runc.runtime_type = \"io.containerd.runc.v2\"\n",
			starts: always, refused: merged},
		{name: "imports in another case", main: "version = 2\nImports = [\"DIR/own/a.toml\"]\n" + settings2, files: own,
			starts: always, refused: on(2, "the key imports is written Imports: write it in small letters")},
		{name: "a megabyte of comments", main: "version = 2\n" + strings.Repeat("# "+strings.Repeat("x", 1000)+"\n", 1000) + settings2,
			starts: always, refused: merged},
		{name: "dotted keys at the top", main: "version = 2\nplugins.\"io.containerd.grpc.v1.cri\".sandbox_image = \"x/pause:1\"\n" +
			"plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc.runtime_type = \"io.containerd.runc.v2\"\n",
			starts: always, refused: merged},
		{name: "plugins inline", main: "version = 2\nplugins = {\"io.containerd.grpc.v1.cri\" = {sandbox_image = \"x/pause:1\"}}\n",
			starts: always, refused: on(1, "write runtimes and the tables above it as tables with headers")},
		{name: "a list of tables", main: "version = 2\n[[unknown.thing]]\na = 1\n[[unknown.thing]]\na = 2\n" + settings2,
			starts: always, refused: merged},
		{name: "indented", main: "version = 2\n[plugins]\n  [plugins.\"io.containerd.grpc.v1.cri\"]\n    sandbox_image = \"x/pause:1\"\n",
			starts: always, refused: merged},
		{name: "the handler is there", main: "version = 2\n" + settings2 + cri2 + ".runtimes.oomwitness]\nruntime_type = \"io.containerd.runc.v2\"\n",
			starts: always, refused: func(version) string { return "has a runtime of that name already" }},
		{name: "not TOML", main: "version = 2\n[plugins\n", starts: never, refused: func(version) string { return "line 2" }},
		{name: "a missing import", main: "imports = [\"DIR/gone.toml\"]\nversion = 2\n", starts: never,
			refused: func(version) string { return "gone.toml" }},
		// The list would import the drop-in's folder as a file, and the backup as well.
		{name: "imports all beside it", main: "version = 2\nimports = [\"DIR/*\"]\n" + settings2, starts: always,
			refused: func(v version) string {
				if v.major >= 2 {
					return "is a directory"
				}
				return "was undone"
			}},
		{name: "byte order mark", main: "\xef\xbb\xbfversion = 2\n" + settings2,
			starts: func(v version) bool { return v.major == 1 }, refused: on(2, "byte order mark")},
	}
}
