package resolve_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/agent/internal/cgroups"
	"github.com/oomwitness/oomwitness/agent/internal/events"
	"github.com/oomwitness/oomwitness/agent/internal/resolve"
	"github.com/oomwitness/oomwitness/bpf"
)

const (
	id   = "3f2a9c1b2d4e5f60718293a4b5c6d7e8f90112233445566778899aabbccddeef"
	uid  = "0f7a2b1c-1234-4abc-8def-0123456789ab"
	hash = "5f2a9c1b2d4e5f60718293a4b5c6d7e8"
	pod  = "/kubepods/burstable/pod" + uid
)

type paths map[uint64]string

func (p paths) Name(id uint64, _ time.Time) (cgroups.Name, error) {
	return cgroups.Name{ID: id, Path: p[id]}, nil
}

// containerd has the names of its containers until they are gone.
type containerd struct {
	mu    sync.Mutex // guards what follows
	names map[string]resolve.ContainerInfo
	asked []string
}

func (c *containerd) Lookup(_ context.Context, id string) (resolve.ContainerInfo, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked = append(c.asked, id)
	info, ok := c.names[id]
	return info, ok
}

type pods []resolve.Pod

func (p pods) ByUID(uid string) (resolve.Pod, bool) {
	for _, one := range p {
		if one.UID == uid || one.Static && uid == hash {
			return one, true
		}
	}
	return resolve.Pod{}, false
}

func TestResolve(t *testing.T) {
	info := resolve.ContainerInfo{Namespace: "k8s.io", Image: "sha256:1", Name: "app", Pod: "web-1", PodNamespace: "shop", PodUID: uid}
	ofStatic := info
	ofStatic.PodUID = hash
	spec := resolve.Container{Name: "app", Image: "shop:1", Kind: resolve.KindSidecar}
	withID := spec
	withID.IDs = []string{id}
	web := resolve.Pod{UID: uid, Namespace: "shop", Name: "web-1"}
	known, early := web, web
	known.Containers, early.Containers = []resolve.Container{withID}, []resolve.Container{spec}
	static := resolve.Pod{UID: "mirror", Namespace: "kube-system", Name: "etcd-node", Static: true, Containers: []resolve.Container{spec}}
	wantPod := &events.Pod{UID: uid, Name: "web-1", Namespace: "shop"}
	for name, test := range map[string]struct {
		path       string
		containerd map[string]resolve.ContainerInfo
		pods       resolve.Pods
		container  *events.Container
		pod        *events.Pod
		unit       string
	}{
		"the store knows it": {
			path: pod + "/" + id, containerd: map[string]resolve.ContainerInfo{id: info}, pods: pods{known},
			container: &events.Container{ID: id, Name: "app", Image: "shop:1", Namespace: "k8s.io", Kind: "sidecar"}, pod: wantPod,
		},
		"the store alone": {
			path: pod + "/" + id, pods: pods{known},
			container: &events.Container{ID: id, Name: "app", Image: "shop:1", Kind: "sidecar"}, pod: wantPod,
		},
		"a container that the API server does not know yet": {
			path: pod + "/" + id, containerd: map[string]resolve.ContainerInfo{id: info}, pods: pods{early},
			container: &events.Container{ID: id, Name: "app", Image: "shop:1", Namespace: "k8s.io", Kind: "sidecar"}, pod: wantPod,
		},
		"containerd alone": {
			path: pod + "/" + id, containerd: map[string]resolve.ContainerInfo{id: info},
			container: &events.Container{ID: id, Name: "app", Image: "sha256:1", Namespace: "k8s.io"}, pod: wantPod,
		},
		"nobody": {
			path: pod + "/" + id, pods: pods{},
			container: &events.Container{ID: id}, pod: &events.Pod{UID: uid},
		},
		"a static pod": {
			path: "/kubepods/pod" + hash + "/" + id, containerd: map[string]resolve.ContainerInfo{id: ofStatic}, pods: pods{static},
			container: &events.Container{ID: id, Name: "app", Image: "shop:1", Namespace: "k8s.io", Kind: "sidecar"},
			pod:       &events.Pod{UID: "mirror", Name: "etcd-node", Namespace: "kube-system", Static: true},
		},
		"in the pod, in no container": {path: pod, pods: pods{known}, pod: wantPod},
		"a service":                   {path: "/system.slice/ssh.service", pods: pods{known}, unit: "ssh.service"},
		"gone":                        {pods: pods{known}},
	} {
		t.Run(name, func(t *testing.T) {
			n := resolve.New(paths{1: test.path}, &containerd{names: test.containerd}, test.pods, nil)
			in, err := n.Resolve(t.Context(), &bpf.Record{Cgroup: 1, Domain: 1, Constraint: bpf.ConstraintMemcg})
			require.NoError(t, err)
			v := in.First()
			require.Equal(t, test.container, v.Container)
			require.Equal(t, test.pod, v.Pod)
			require.Equal(t, test.unit, v.Unit)
			require.Equal(t, test.path, v.Cgroup.Path)
		})
	}
}

// TestAhead: a container's names are asked for when it appears.
func TestAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &containerd{}
		n := resolve.New(paths{}, c, nil, nil)
		for _, path := range []string{"/", "/kubepods", pod, pod + "/" + id, pod + "/" + id + "/nested", "/system.slice/ssh.service"} {
			n.Appeared(path)
		}
		ctx, cancel := context.WithCancel(t.Context())
		go n.Run(ctx)
		synctest.Wait()
		require.Equal(t, []string{id}, c.asked)
		cancel()
		synctest.Wait()
		for range 3000 { // nobody takes them: it does not wait
			n.Appeared(pod + "/" + id)
		}
	})
}
