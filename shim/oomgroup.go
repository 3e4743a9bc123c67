//go:build linux

package shim

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	taskAPI "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"google.golang.org/protobuf/types/known/anypb"

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

const oomGroupFile = "memory.oom.group"

// policyOf returns a container's policy, and refuses a policy that this node
// cannot keep.
func (s *Service) policyOf(sp bundle.Spec) (policy, error) {
	p, asked, err := parsePolicy(sp.Annotations, s.cfg)
	p.ownPids = sp.OwnPids()
	if err != nil || !slices.Contains(asked, config.PolicyOOMGroup) {
		return p, err
	}
	h, err := s.hierarchy()
	if err == nil && h.Version < 2 {
		err = fmt.Errorf("cgroup v%d, mounted on %s, has no %s", h.Version, h.Mount, oomGroupFile)
	}
	if err != nil {
		return p, fmt.Errorf("annotation %q needs a node with cgroup v2: %w: %w",
			annotationPrefix+config.PolicyOOMGroup, err, errdefs.ErrFailedPrecondition)
	}
	return p, nil
}

// groupInSpec has the container of a bundle made with the memory.oom.group of its
// policy.
func (p policy) groupInSpec(dir string) error {
	if p.oomGroup == "" {
		return nil
	}
	name := filepath.Join(dir, bundle.SpecFile)
	data, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	if data, err = setIn(data, p.oomGroup, "linux", "resources", "unified", oomGroupFile); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	fi, err := os.Stat(name)
	if err != nil {
		return err
	}
	return bundle.ReplaceFile(name, data, fi.Mode().Perm())
}

// Update changes limits, and leaves memory.oom.group at the value of the policy.
func (s *Service) Update(ctx context.Context, req *taskAPI.UpdateTaskRequest) (*emptyResponse, error) {
	c := s.container(req.ID)
	if c == nil || c.policy.oomGroup == "" || req.Resources == nil {
		return s.TTRPCTaskService.Update(ctx, req)
	}
	resources, err := setIn(req.Resources.Value, c.policy.oomGroup, "unified", oomGroupFile)
	if err != nil {
		return nil, errgrpc.ToGRPC(fmt.Errorf("resources of %s: %w: %w", c.id, err, errdefs.ErrInvalidArgument))
	}
	return s.TTRPCTaskService.Update(ctx, &taskAPI.UpdateTaskRequest{
		ID: req.ID, Annotations: req.Annotations,
		Resources: &anypb.Any{TypeUrl: req.Resources.TypeUrl, Value: resources},
	})
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
