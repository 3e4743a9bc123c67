//go:build linux

package policy

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/containerd/errdefs"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/oomwitness/oomwitness/oom"
	"github.com/oomwitness/oomwitness/shim/config"
	"github.com/oomwitness/oomwitness/shim/internal/bundle"
)

// memory.oom.group is set by whoever makes the cgroup. The order of events:
//
//  1. containerd writes the bundle, with what kubelet asks for in the spec's
//     linux.resources.unified, and asks the shim to create the container;
//  2. the shim writes what the pod's annotation asks for in its place;
//  3. runc makes the cgroup by the spec, puts init into it and lets it wait. With
//     the systemd driver it first has systemd make the scope, with an OOMPolicy
//     by the same value (opencontainers/cgroups, systemd/v2.go), which can't be
//     changed later;
//  4. the shim answers; Start lets init go on. A restored container's step 3 is
//     at its Start.
//
// Writing the file after step 3 would not last: systemd (253 and later) writes
// memory.oom.group again by the scope's OOMPolicy whenever a limit is changed or
// it is reloaded, and with the policy "kill" that came from kubelet's 1 it ends
// the whole scope itself (systemd, src/core/scope.c). An Update goes the same
// way: containerd sends the spec's resources, the shim puts its value in, and runc
// has systemd set the limits first and writes the unified files last. What an older
// systemd writes by itself is undone by the oom.group enforcement.

const groupFile = "memory.oom.group"

// Of returns the policy of a container with that spec, and refuses a policy that this
// node cannot keep.
func Of(sp bundle.Spec, cfg config.Config, hierarchy func() (oom.Hierarchy, error)) (Policy, error) {
	p, asked, err := parse(sp.Annotations, cfg)
	p.OwnPids = sp.OwnPids()
	if err != nil || !slices.Contains(asked, config.PolicyOOMGroup) {
		return p, err
	}
	h, err := hierarchy()
	if err == nil && h.Version < 2 {
		err = fmt.Errorf("cgroup v%d, mounted on %s, has no %s", h.Version, h.Mount, groupFile)
	}
	if err != nil {
		return p, fmt.Errorf("annotation %q needs a node with cgroup v2: %w: %w",
			annotationPrefix+config.PolicyOOMGroup, err, errdefs.ErrFailedPrecondition)
	}
	return p, nil
}

// InSpec has the container of a bundle made with the memory.oom.group of its policy.
func (p Policy) InSpec(dir string) error {
	if p.OOMGroup == "" {
		return nil
	}
	name := filepath.Join(dir, bundle.SpecFile)
	data, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	if data, err = setIn(data, p.OOMGroup, "linux", "resources", "unified", groupFile); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	fi, err := os.Stat(name)
	if err != nil {
		return err
	}
	return bundle.ReplaceFile(name, data, fi.Mode().Perm())
}

// InUpdate returns the resources of an Update with memory.oom.group at the value of the
// policy.
func (p Policy) InUpdate(resources *anypb.Any) (*anypb.Any, error) {
	if p.OOMGroup == "" || resources == nil {
		return resources, nil
	}
	value, err := setIn(resources.Value, p.OOMGroup, "unified", groupFile)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, errdefs.ErrInvalidArgument)
	}
	return &anypb.Any{TypeUrl: resources.TypeUrl, Value: value}, nil
}

// setIn returns a JSON object with a text at the place where path leads, and all
// else in it as it was. Objects that are not there are made.
func setIn(object []byte, text string, path ...string) ([]byte, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(object, &fields); err != nil {
		return nil, err
	}
	if fields == nil { // of null
		fields = make(map[string]json.RawMessage)
	}
	name, rest := path[0], path[1:]
	if len(rest) == 0 {
		value, err := json.Marshal(text)
		if err != nil {
			return nil, err
		}
		fields[name] = value
		return json.Marshal(fields)
	}
	inner := fields[name]
	if inner == nil {
		inner = []byte("null")
	}
	inner, err := setIn(inner, text, rest...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	fields[name] = inner
	return json.Marshal(fields)
}
