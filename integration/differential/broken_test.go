//go:build linux

package differential

import (
	"os"
	"os/exec"
	"slices"
	"strings"

	task "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/containerd/api/types/runc/options"
	"github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/oomwitness/oomwitness/integration/shimtest"
)

// faults are broken bundles, broken runtimes and dead shims.
var faults = []sequence{
	{name: "start without config.json", run: func(s *session) {
		b := s.bundle("c")
		s.must(os.Remove(b.File("config.json")))
		s.startCommand(b)
	}},
	{name: "start with a bad config.json", run: func(s *session) {
		b := s.bundle("c")
		s.must(os.WriteFile(b.File("config.json"), []byte("not JSON"), 0o644))
		s.startCommand(b)
	}},
	{name: "create without config.json", run: func(s *session) {
		s.must(os.Remove(s.shim("c").File("config.json")))
		s.create("c")
		s.state("c", "")
	}},
	{name: "create without a bundle", run: func(s *session) {
		s.shim("c")
		s.createWith("c", func(r *task.CreateTaskRequest) { r.Bundle = s.node.Dir + "/missing" })
		s.createWith("c", func(r *task.CreateTaskRequest) { r.Bundle = "" })
		s.state("c", "")
	}},
	{name: "no runc", run: func(s *session) {
		s.shim("c")
		s.createOptions("c", func(o *options.Options) { o.BinaryName = "/missing/runc" })
		s.state("c", "")
		s.create("c")
	}},
	{name: "runc that does nothing", run: func(s *session) {
		path, err := exec.LookPath("true")
		s.must(err)
		s.shim("c")
		s.createOptions("c", func(o *options.Options) { o.BinaryName = path })
		s.state("c", "")
	}},
	{name: "runc that fails", run: func(s *session) {
		path, err := exec.LookPath("false")
		s.must(err)
		s.shim("c")
		s.createOptions("c", func(o *options.Options) { o.BinaryName = path })
		s.state("c", "")
	}},
	{name: "options of an unknown type", run: func(s *session) {
		s.shim("c")
		s.createWith("c", func(r *task.CreateTaskRequest) {
			r.Options = &anypb.Any{TypeUrl: "example.com/no.such", Value: []byte{1}}
		})
		s.createWith("c", func(r *task.CreateTaskRequest) { r.Options = nil })
	}},
	{name: "missing executable", run: func(s *session) {
		s.shim("c", func(spec *specs.Spec) { spec.Process.Args = []string{"/missing"} })
		s.create("c")
		s.state("c", "")
		s.start("c", "")
	}},
	{name: "no arguments", run: func(s *session) {
		s.shim("c", func(spec *specs.Spec) { spec.Process.Args = nil })
		s.create("c")
	}},
	{name: "missing rootfs", run: func(s *session) {
		s.shim("c", func(spec *specs.Spec) { spec.Root.Path = "/missing" })
		s.create("c")
		s.createWith("c", func(r *task.CreateTaskRequest) {
			r.Rootfs = []*types.Mount{{Type: "bind", Source: "/missing", Options: []string{"rbind"}}}
		})
	}},
	{name: "missing checkpoint", run: func(s *session) {
		s.shim("c")
		s.createWith("c", func(r *task.CreateTaskRequest) { r.Checkpoint = s.node.Dir + "/missing" })
		s.state("c", "")
		s.pids("c")
		s.start("c", "")
		s.state("c", "")
		s.created = nil // this container never ran, and cannot be waited for
	}},
	{name: "dead shim, running container", run: func(s *session) {
		s.running("c")
		s.deleteDead("c", "/tasks/start")
	}},
	{name: "dead shim, exited container", run: func(s *session) {
		s.exited("c", shimtest.Args("exit", "6"))
		s.deleteDead("c", "/tasks/exit")
	}},
	{name: "dead shim, created container", run: func(s *session) {
		s.shim("c")
		s.create("c")
		s.deleteDead("c", "/tasks/create")
	}},
	{name: "dead shim, no container", run: func(s *session) {
		s.shim("c")
		s.deleteDead("c", "")
	}},
}

// bundleFiles returns the names of the files in a bundle, except those of our shim.
func (s *session) bundleFiles(id string) []string {
	return slices.DeleteFunc(entries(s.bundles[id].Path), func(name string) bool {
		return strings.HasPrefix(name, "oomwitness.json")
	})
}

func entries(dir string) []string {
	found, err := os.ReadDir(dir)
	if err != nil {
		return []string{err.Error()}
	}
	var names []string
	for _, entry := range found {
		names = append(names, entry.Name())
	}
	return names
}
