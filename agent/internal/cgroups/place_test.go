package cgroups_test

import (
	"path"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/agent/internal/cgroups"
)

// kubelet is that of the default.
var kubelet *cgroups.Kubelet

const (
	id     = "3f2a9c1b2d4e5f60718293a4b5c6d7e8f90112233445566778899aabbccddeef"
	uid    = "0f7a2b1c-1234-4abc-8def-0123456789ab"
	uidSD  = "0f7a2b1c_1234_4abc_8def_0123456789ab"
	static = "5f2a9c1b2d4e5f60718293a4b5c6d7e8" // a static pod's UID is a hash
)

func TestLocate(t *testing.T) {
	const slices = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + uidSD + ".slice"
	const kind = "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod" + uidSD + ".slice"
	for text, want := range map[string]cgroups.Place{
		// CRI, systemd driver
		slices + "/cri-containerd-" + id + ".scope":            {Container: id, Path: slices + "/cri-containerd-" + id + ".scope", PodUID: uid, Pod: slices},
		slices + "/cri-containerd-" + id + ".scope/init.scope": {Container: id, Path: slices + "/cri-containerd-" + id + ".scope", PodUID: uid, Pod: slices},
		slices: {Path: slices, PodUID: uid, Pod: slices},
		kind + "/cri-containerd-" + id + ".scope":              {Container: id, Path: kind + "/cri-containerd-" + id + ".scope", PodUID: uid, Pod: kind},
		"/kubepods.slice/kubepods-pod" + static + ".slice/x.y": {Container: "x.y", Path: "/kubepods.slice/kubepods-pod" + static + ".slice/x.y", PodUID: static, Pod: "/kubepods.slice/kubepods-pod" + static + ".slice"},
		"/kubepods.slice/kubepods-besteffort.slice":            {Path: "/kubepods.slice/kubepods-besteffort.slice"},
		slices + "/crio-" + id + ".scope":                      {Container: id, Path: slices + "/crio-" + id + ".scope", PodUID: uid, Pod: slices},
		slices + "/docker-" + id + ".scope":                    {Container: id, Path: slices + "/docker-" + id + ".scope", PodUID: uid, Pod: slices},
		slices + "/crio-conmon-" + id + ".scope":               {Container: id, Path: slices + "/crio-conmon-" + id + ".scope", PodUID: uid, Pod: slices},
		// CRI, cgroupfs driver
		"/kubepods/pod" + uid + "/" + id:                      {Container: id, Path: "/kubepods/pod" + uid + "/" + id, PodUID: uid, Pod: "/kubepods/pod" + uid},
		"/kubepods/burstable/pod" + uid + "/" + id + "/a/b":   {Container: id, Path: "/kubepods/burstable/pod" + uid + "/" + id, PodUID: uid, Pod: "/kubepods/burstable/pod" + uid},
		"/kubelet/kubepods/besteffort/pod" + static + "/name": {Container: "name", Path: "/kubelet/kubepods/besteffort/pod" + static + "/name", PodUID: static, Pod: "/kubelet/kubepods/besteffort/pod" + static},
		"/kubepods/pod" + uid + "/crio-" + id:                 {Container: id, Path: "/kubepods/pod" + uid + "/crio-" + id, PodUID: uid, Pod: "/kubepods/pod" + uid},
		"/podman/x":                                           {Container: "x", Path: "/podman/x"},
		// The systemd driver's notation taken by the cgroupfs driver
		"/system.slice/containerd.service/kubepods-burstable-pod" + uidSD + ".slice:cri-containerd:" + id: {
			Container: id, Path: "/system.slice/containerd.service/kubepods-burstable-pod" + uidSD + ".slice:cri-containerd:" + id, PodUID: uid,
		},
		// ctr and others
		"/system.slice/demo-web.scope":             {Container: "web", Path: "/system.slice/demo-web.scope"},
		"/system.slice/demo-web-1.scope/x":         {Container: "web-1", Path: "/system.slice/demo-web-1.scope"},
		"/system.slice/cri-containerd-web-1.scope": {Container: "web-1", Path: "/system.slice/cri-containerd-web-1.scope"},
		"/system.slice/docker-" + id + ".scope":    {Container: id, Path: "/system.slice/docker-" + id + ".scope"},
		"/default/web":                             {Container: "web", Path: "/default/web"},
		"/default/web/system.slice/nginx.service":  {Container: "web", Path: "/default/web"},
		"/docker/" + id + "/nested":                {Container: id, Path: "/docker/" + id},
		"/lxc.payload.c1/" + id:                    {Path: "/lxc.payload.c1/" + id}, // named by the guest's root
		"/lxc/c1/" + id:                            {Path: "/lxc/c1/" + id},
		"/custom/lxc.payload.c1/" + id:             {Path: "/custom/lxc.payload.c1/" + id}, // lxc.cgroup.dir
		"/user.slice/user-0.slice/session-1.scope": {Path: "/user.slice/user-0.slice/session-1.scope"},
		"/system.slice/run-u12.scope":              {Path: "/system.slice/run-u12.scope"},
		"/system.slice/containerd.service":         {Path: "/system.slice/containerd.service"},
		"/system.slice":                            {Path: "/system.slice"},
		"/init.scope":                              {Path: "/init.scope"},
		"/lonely":                                  {Path: "/lonely"},
		"/":                                        {Path: "/"},
	} {
		require.Equal(t, want, kubelet.Locate(text), text)
	}
}

func TestOwner(t *testing.T) {
	for path, want := range map[string]string{
		"/": "", "": "", "/system.slice": "", "/user.slice": "", "/a.slice/a-b.slice": "",
		"/system.slice/ssh.service":                         "/system.slice/ssh.service",
		"/system.slice/ci.service/a/b":                      "/system.slice/ci.service",
		"/system.slice/system-getty.slice/getty@1.service":  "/system.slice/system-getty.slice/getty@1.service",
		"/user.slice/user-1000.slice":                       "/user.slice/user-1000.slice",
		"/user.slice/user-1000.slice/user@1000.service/a/b": "/user.slice/user-1000.slice",
		"/user.slice/user-1000.slice/session-1.scope":       "/user.slice/user-1000.slice",
		"/docker": "/docker",
		"/lxc.payload.c1/system.slice/ssh.service": "/lxc.payload.c1",
		"/lxc/c1/a":       "/lxc/c1",
		"/docker/x/y/z":   "/docker/x",
		"/init.scope/a/b": "/init.scope",
		"/kubepods":       "/kubepods",
	} {
		require.Equal(t, want, cgroups.Owner(path), path)
	}
}

func FuzzLocate(f *testing.F) {
	for _, seed := range []string{
		"/", "", "//", "/kubepods/pod" + uid + "/" + id, "/system.slice/a-b.scope", "/a.slice:b:c",
		"/kubepods.slice/kubepods-pod" + uidSD + ".slice/cri-containerd-" + id + ".scope", "/a/b/c.service", "/\xff/\x00",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		text = path.Clean("/" + text)
		p := kubelet.Locate(text)
		require.True(t, strings.HasPrefix(text, cgroups.Owner(text)))
		require.True(t, cgroups.Within(text, p.Path), "%q is not in %q", text, p.Path)
		require.True(t, strings.HasSuffix(path.Base(p.Path), p.Container) || p.Container != "" && strings.Contains(path.Base(p.Path), p.Container))
		if p.Pod != "" {
			require.True(t, cgroups.Within(p.Path, p.Pod))
			require.NotEmpty(t, p.PodUID)
		}
		if p.Container != "" {
			require.Equal(t, p, kubelet.Locate(p.Path), "the container's own cgroup says the same")
		}
	})
}
