package resolve_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/agent/internal/cgroups"
	"github.com/oomwitness/oomwitness/agent/internal/resolve"
	"github.com/oomwitness/oomwitness/bpf"
)

// TestTrust: whoever has a cgroup of his own, by a user session, a rootless engine or
// Delegate=yes, gives the cgroups below whatever name he likes. Such a cgroup is no
// pod's and no container's of Kubernetes: its event has the unit or the path.
func TestTrust(t *testing.T) {
	const (
		slices = "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod0f7a2b1c_1234_4abc_8def_0123456789ab.slice"
		scope  = "cri-containerd-" + id + ".scope"
		user   = "/user.slice/user-1000.slice/user@1000.service"
	)
	info := resolve.ContainerInfo{Namespace: "k8s.io", Image: "sha256:1", Name: "app", Pod: "web-1", PodNamespace: "shop", PodUID: uid}
	web := resolve.Pod{UID: uid, Namespace: "shop", Name: "web-1", Containers: []resolve.Container{
		{Name: "app", Image: "shop:1", Kind: resolve.KindContainer, IDs: []string{id}},
	}}
	names := []string{
		slices + "/" + scope, slices, "kubepods/burstable/pod" + uid + "/" + id, "kubepods/pod" + uid, scope, id, "docker-" + id + ".scope",
		"kubepods-burstable-pod0f7a2b1c_1234_4abc_8def_0123456789ab.slice/" + scope,
		"kubepods-burstable-pod0f7a2b1c_1234_4abc_8def_0123456789ab.slice:cri-containerd:" + id,
		"kubelet/kubepods/pod" + uid + "/" + id, "kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod" + uid + ".slice/" + scope,
	}
	for parent, unit := range map[string]string{
		user:                                   "user@1000.service",
		user + "/app.slice/mine.service":       "user@1000.service",
		"/system.slice/ci.service":             "ci.service",
		"/machine.slice/box.scope":             "box.scope",
		"/system.slice/containerd.service/x":   "containerd.service",
		"/kubelike":                            "",
		"/lxc/c1":                              "",
		"/kubepods":                            "",
		"/kubepods.slice/kubepods-other.slice": "kubepods-other.slice",
		"/system.slice":                        "",
		"/kubepods/burstable/mine":             "",
	} {
		for _, name := range names {
			path := parent + "/" + name
			for who, c := range map[string]struct {
				containerd map[string]resolve.ContainerInfo
				pods       resolve.Pods
			}{
				"both":       {map[string]resolve.ContainerInfo{id: info}, pods{web}},
				"containerd": {map[string]resolve.ContainerInfo{id: info}, nil},
				"API server": {nil, pods{web}},
			} {
				n := resolve.New(paths{1: path}, &containerd{names: c.containerd}, c.pods, nil)
				in, err := n.Resolve(t.Context(), &bpf.Record{Cgroup: 1, Domain: 1, Constraint: bpf.ConstraintMemcg})
				require.NoError(t, err)
				v := in.First()
				require.Nil(t, v.Pod, "%s: %s", who, path)
				if c.containerd != nil && v.Container != nil {
					require.NotEqual(t, id, v.Container.ID, path)
				}
				if unit != "" {
					require.NotEmpty(t, v.Unit, path)
				}
				require.Equal(t, path, v.Cgroup.Path)
			}
		}
	}
}

// TestAgreement: cgroup, containerd and API server have to say the same of a container.
func TestAgreement(t *testing.T) {
	const other = "ffffffff-1234-4abc-8def-0123456789ab"
	path := pod + "/" + id
	web := resolve.Pod{UID: uid, Namespace: "shop", Name: "web-1", Containers: []resolve.Container{{Name: "app", IDs: []string{id}}}}
	thief := resolve.Pod{UID: other, Namespace: "evil", Name: "thief", Containers: []resolve.Container{{Name: "mine", IDs: []string{id}}}}
	labels := func(uid string) map[string]resolve.ContainerInfo {
		return map[string]resolve.ContainerInfo{id: {Namespace: "k8s.io", Name: "app", Pod: "web-1", PodNamespace: "shop", PodUID: uid}}
	}
	name := func(c map[string]resolve.ContainerInfo, p resolve.Pods) (pod, container string) {
		n := resolve.New(paths{1: path}, &containerd{names: c}, p, nil)
		in, err := n.Resolve(t.Context(), &bpf.Record{Cgroup: 1, Domain: 1, Constraint: bpf.ConstraintMemcg})
		require.NoError(t, err)
		v := in.First()
		if v.Pod != nil {
			pod = v.Pod.UID + " " + v.Pod.Name
		}
		if v.Container != nil {
			container = v.Container.Name
		}
		return pod, container
	}
	for text, c := range map[string]struct {
		containerd     map[string]resolve.ContainerInfo
		pods           resolve.Pods
		pod, container string
	}{
		"all agree":                           {labels(uid), pods{web}, uid + " web-1", "app"},
		"containerd has another pod":          {labels(other), pods{web, thief}, "", ""},
		"containerd has no pod":               {labels(""), pods{web}, "", ""},
		"a status has a container of another": {nil, pods{thief, web}, uid + " web-1", "app"},
		"only a status of another pod has it": {nil, pods{thief}, uid + " ", ""},
		"labels in a namespace that is not CRI's": {
			map[string]resolve.ContainerInfo{id: {Namespace: "moby", Image: "x"}}, pods{web}, uid + " web-1", "app",
		},
	} {
		gotPod, gotContainer := name(c.containerd, c.pods)
		require.Equal(t, c.pod, gotPod, text)
		require.Equal(t, c.container, gotContainer, text)
	}
}

// TestOtherRoot: pods are below the root that kubelet was given.
func TestOtherRoot(t *testing.T) {
	kubelet, err := cgroups.NewKubelet([]string{"/one-two"})
	require.NoError(t, err)
	for path, want := range map[string]string{
		"/one-two/kubepods/pod" + uid + "/" + id: uid,
		"/kubepods/pod" + uid + "/" + id:         "",
		"/one_two.slice/one_two-kubepods.slice/one_two-kubepods-besteffort.slice/one_two-kubepods-besteffort-pod1_2.slice/crio-" + id + ".scope": "1-2",
		"/one-two/burstable/kubepods/pod" + uid:      "",
		"/one-two/kubepods/guaranteed/pod" + uid:     "",
		"/one-two/kubepods/burstable/x/pod" + uid:    "",
		"/one-two/kubepods/burstable/pod" + uid:      uid,
		"/one-two/kubepods/burstable/podx/pod" + uid: "x",
	} {
		require.Equal(t, want, kubelet.Locate(path).PodUID, path)
	}
	for _, bad := range []string{"", "kubelet", "/a/", "/a/../b", "/a\nb"} {
		_, err := cgroups.NewKubelet([]string{bad})
		require.ErrorContains(t, err, "absolute path", bad)
	}
}
